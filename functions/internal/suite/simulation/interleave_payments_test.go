package simulation

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

var (
	authorize           = act{service: authorizes, topic: events.OrderCreatedType}
	authorizeUnanswered = act{service: authorizes, topic: events.OrderCreatedType, unanswered: true}
	refundCanceled      = act{service: refunds, topic: events.OrderCanceledType}
	refundFailed        = act{service: refunds, topic: events.OrderFailedType}
	refundUnanswered    = act{service: refunds, topic: events.OrderCanceledType, unanswered: true}
	sweepAuthorizations = act{service: authorizes}
	sweepRefunds        = act{service: refunds}
	reservePaid         = act{service: "reserve-stock", topic: events.PaymentAuthorizedType}
	failDeclined        = act{service: "finalize-order", topic: events.PaymentDeclinedType}
)

// paidPairs are the pairs where orders are paid.
var paidPairs = map[string]pair{
	"authorize twice":                              {first: authorize, second: authorize},
	"decline twice":                                {first: authorize, second: authorize, declined: true},
	"authorize and refund a canceled order":        {first: authorize, second: refundCanceled, before: []act{cancel}},
	"authorize and refund an expired order":        {first: authorize, second: refundFailed, before: []act{expire}},
	"decline and refund a canceled order":          {first: authorize, second: refundCanceled, before: []act{cancel}, declined: true},
	"decline and refund an expired order":          {first: authorize, second: refundFailed, before: []act{expire}, declined: true},
	"authorize and ask again":                      {first: authorize, second: sweepAuthorizations},
	"decline and ask again":                        {first: authorize, second: sweepAuthorizations, declined: true},
	"ask again twice about an authorization":       {first: sweepAuthorizations, second: sweepAuthorizations, before: []act{authorizeUnanswered}},
	"ask again about an authorization and refund":  {first: sweepAuthorizations, second: refundCanceled, before: []act{authorizeUnanswered, cancel}},
	"ask again about what was declined and refund": {first: sweepAuthorizations, second: refundFailed, before: []act{authorizeUnanswered, expire}, declined: true},
	"refund twice":                                 {first: refundCanceled, second: refundCanceled, before: []act{authorize, reservePaid, confirm, cancel}},
	"refund an unknown authorization twice":        {first: refundCanceled, second: refundCanceled, before: []act{authorizeUnanswered, cancel}},
	"refund and ask again":                         {first: refundCanceled, second: sweepRefunds, before: []act{authorize, cancel}},
	"ask again twice about a refund":               {first: sweepRefunds, second: sweepRefunds, before: []act{authorize, cancel, refundUnanswered}},
	"ask again about a refund and authorize late":  {first: sweepRefunds, second: authorize, before: []act{authorizeUnanswered, cancel, refundUnanswered}},
	"authorize and cancel":                         {first: authorize, second: cancel},
	"authorize and expire":                         {first: authorize, second: expire},
	"decline and cancel":                           {first: authorize, second: cancel, declined: true},
	"decline and expire":                           {first: authorize, second: expire, declined: true},
	"refund and cancel again":                      {first: refundCanceled, second: cancel, before: []act{authorize, cancel}},
	"refund and expire":                            {first: refundFailed, second: expire, before: []act{authorize, expire}},
	"reserve and refund":                           {first: reservePaid, second: refundCanceled, before: []act{authorize, cancel}},
	"reserve and release what is paid":             {first: reservePaid, second: releaseCanceled, before: []act{authorize, cancel}},
	"reserve twice what is paid":                   {first: reservePaid, second: reservePaid, before: []act{authorize}},
	"reserve and cancel what is paid":              {first: reservePaid, second: cancel, before: []act{authorize}},
	"reserve and expire what is paid":              {first: reservePaid, second: expire, before: []act{authorize}},
	"fail what was declined twice":                 {first: failDeclined, second: failDeclined, before: []act{authorize}, declined: true},
	"fail what was declined and cancel":            {first: failDeclined, second: cancel, before: []act{authorize}, declined: true},
	"fail what was declined and expire":            {first: failDeclined, second: expire, before: []act{authorize}, declined: true},
}

// hasty lets a lease end before it begins, so that a sweep takes over a request while its first holder asks the gateway.
func hasty(own *tap) { own.rewrite = inHaste }

func inHaste(text string) string {
	for _, query := range []string{"RequestAuthorizations", "RequestRefund", "LeaseRequests"} {
		text = replacing(query, "NOW(6) + INTERVAL", "NOW(6) - INTERVAL")(text)
	}
	return text
}

// TestEveryOrderOfTheStatementsOfTwoOnOnePayment is TestEveryOrderOfTheStatementsOfTwoOnOneOrder where orders are paid. The
// gateway is asked between two transactions of an act. They take many minutes: a run has every 30th, from one chosen at random
// on; INTERLEAVE=1 has all of them.
func TestEveryOrderOfTheStatementsOfTwoOnOnePayment(t *testing.T) {
	t.Parallel()
	stages := make(chan *stage, 2)
	for range cap(stages) {
		stages <- newStage(t, overlayPayment)
	}
	step := 30
	if text := os.Getenv("INTERLEAVE"); text != "" {
		var err error
		step, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	names := slices.Sorted(maps.Keys(paidPairs))
	for n := rand.IntN(step); n < len(names); n += step {
		p := paidPairs[names[n]]
		t.Run(names[n], func(t *testing.T) {
			t.Parallel()
			s := <-stages
			defer func() { stages <- s }()
			s.assertSound(t, p, hasty)
		})
	}
}

// TestWhatIsBrokenBetweenTwoTransactionsIsFound checks that the orders of statements reveal what no order of whole acts does.
func TestWhatIsBrokenBetweenTwoTransactionsIsFound(t *testing.T) {
	replaced := func(old, replacement string) func(*tap) {
		return func(own *tap) {
			own.rewrite = func(text string) string { return replacing("LockPayments", old, replacement)(inHaste(text)) }
		}
	}
	anyStatus := replaced("status,", "IF(status IN ('PENDING', 'REFUND_REQUESTED'), status, 'REQUESTED') AS status,")
	unlocked := replaced("FOR UPDATE", "")
	for name, of := range map[string]struct {
		pair   string
		broken func(*tap)
	}{
		"an answer is recorded twice":                     {"authorize and ask again", anyStatus},
		"a late authorization is recorded":                {"authorize and refund a canceled order", anyStatus},
		"an authorization and its refund see one another": {"authorize and refund a canceled order", unlocked},
		"two answers about one request":                   {"ask again twice about an authorization", unlocked},
	} {
		t.Run(name, func(t *testing.T) {
			n, violations := newStage(t, overlayPayment).play(t, paidPairs[of.pair], of.broken)
			assert.NotEmpty(t, violations, "in %d orders of the statements", n)
			t.Logf("%d violations in %d orders of the statements", len(violations), n)
		})
	}
}
