package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/web/identity"
)

func newTestStore() *Sessions {
	return &Sessions{store: store{idle: time.Hour, life: 12 * time.Hour, all: map[[sha256.Size]byte]*held{}}, log: slog.New(slog.DiscardHandler)}
}

func granted(subject string) tokens {
	return tokens{principal: identity.Principal{Issuer: "https://issuer.example", Subject: subject, Operator: true}, expires: time.Now().Add(1000 * time.Hour)}
}

// follow returns a stream's context for a session.
func follow(t *testing.T, s *Sessions, one *held) context.Context {
	t.Helper()
	ctx := identity.With(context.WithValue(t.Context(), contextKey{}, one), one.who())
	ctx, cancel := s.Follow(ctx)
	t.Cleanup(cancel)
	return ctx
}

func TestASessionEndsWithoutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStore()
		secret, one := s.store.start(granted("olga"))
		stream := follow(t, s, one)
		time.Sleep(59 * time.Minute)
		assert.NotNil(t, s.store.find(secret, false), "a stream that is opened again")
		assert.NoError(t, stream.Err())
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Error(t, stream.Err())
		assert.Nil(t, s.store.find(secret, true))
		assert.Empty(t, s.store.all)
	})
}

func TestRequestsPutOffTheEndOfASessionUpToItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStore()
		secret, one := s.store.start(granted("olga"))
		stream := follow(t, s, one)
		for range 23 {
			time.Sleep(31 * time.Minute)
			assert.NotNil(t, s.store.find(secret, true))
			assert.NoError(t, stream.Err())
		}
		time.Sleep(12*time.Hour - 23*31*time.Minute)
		synctest.Wait()
		assert.Error(t, stream.Err())
		assert.Nil(t, s.store.find(secret, true))
	})
}

func TestAStreamOfATokenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []*Sessions{newTestStore(), nil} {
			ctx, cancel := s.Follow(identity.With(t.Context(), identity.Principal{Subject: "olga", Operator: true}))
			time.Sleep(maxStreamOfToken)
			synctest.Wait()
			assert.Error(t, ctx.Err())
			cancel()
			ctx, cancel = s.Follow(identity.With(t.Context(), identity.Principal{Open: true}))
			time.Sleep(1000 * time.Hour)
			assert.NoError(t, ctx.Err())
			cancel()
		}
	})
}

func TestASessionWithoutARefreshTokenEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStore()
		g := granted("olga")
		g.expires = time.Now().Add(5 * time.Minute)
		secret, one := s.store.start(g)
		stream := follow(t, s, one)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		assert.Error(t, stream.Err())
		assert.Nil(t, s.store.find(secret, true))
	})
}

func TestTheSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStore()
		var secrets []string
		for range maxOfSubject {
			secret, _ := s.store.start(granted("olga"))
			secrets = append(secrets, secret)
			time.Sleep(time.Millisecond)
		}
		s.store.find(secrets[0], true)
		time.Sleep(time.Millisecond)
		s.store.start(granted("olga"))
		assert.NotNil(t, s.store.find(secrets[0], false), "it was used last")
		assert.Nil(t, s.store.find(secrets[1], false))

		for i := range maxSessions {
			s.store.start(granted(fmt.Sprint("user ", i)))
			time.Sleep(time.Millisecond)
		}
		assert.Len(t, s.store.all, maxSessions)
		assert.Nil(t, s.store.find(secrets[0], false))
	})
}

func TestALogInLeadsOnlyToThisServer(t *testing.T) {
	for to, want := range map[string]string{
		"/":                       "/",
		"/orders?status=PENDING":  "/orders?status=PENDING",
		"":                        "/",
		"orders":                  "/",
		"//evil.example":          "/",
		"/\\evil.example":         "/",
		"\\/evil.example":         "/",
		"https://evil.example/":   "/",
		"javascript:alert(1)":     "/",
		"/\t/evil.example":        "/",
		"/\r\nSet-Cookie: a=b":    "/",
		"/login?to=/login":        "/",
		"/login/callback?code=1":  "/",
		"/logout":                 "/",
		"/logged-out":             "/",
		"/search?q=%2F%2Fx.test/": "/search?q=%2F%2Fx.test/",
	} {
		assert.Equal(t, want, local(to), "%q", to)
	}
}
