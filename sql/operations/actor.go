package operations

// MaxActor is the length of the longest name of who has done something, in characters: a subject of OpenID Connect has at most
// 255, and the address of the client follows. The log of payments keeps as many.
const MaxActor = 320
