package delivery_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/messaging/delivery"
)

var errStock = errors.New("stock is gone")

func TestOnlyDeclaredErrorsArePoison(t *testing.T) {
	cases := map[string]struct {
		err  error
		want bool
	}{
		"nothing":              {nil, false},
		"a plain error":        {errStock, false},
		"declared":             {delivery.Poison(errStock), true},
		"declared and wrapped": {fmt.Errorf("reserve: %w", delivery.Poison(errStock)), true},
		"declared and joined":  {errors.Join(errors.New("rollback"), delivery.Poison(errStock)), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, delivery.IsPoison(c.err)) })
	}
	assert.ErrorIs(t, delivery.Poison(errStock), errStock)
	assert.Equal(t, errStock.Error(), delivery.Poison(errStock).Error())
}

func TestResultTurnsAnErrorIntoAnAnswer(t *testing.T) {
	cases := map[string]struct {
		err     error
		status  int
		verdict delivery.Verdict
	}{
		"nothing":        {nil, 200, delivery.Acknowledge},
		"a plain error":  {errStock, 503, delivery.Retry},
		"poison":         {delivery.Poison(errStock), 422, delivery.DeadLetter},
		"wrapped poison": {fmt.Errorf("reserve 100%%: %w", delivery.Poison(errStock)), 422, delivery.DeadLetter},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer := delivery.Result(c.err)
			assert.Equal(t, c.status, delivery.Status(answer))
			assert.Equal(t, c.verdict, delivery.Judge(delivery.Status(answer)))
			if c.err == nil {
				assert.NoError(t, answer)
				return
			}
			assert.ErrorIs(t, answer, errStock)
			assert.EqualError(t, answer, fmt.Sprintf("%d: %s", c.status, c.err))
		})
	}
}

func TestStatusEqualsTheRuntimesAnswer(t *testing.T) {
	cases := map[string]struct {
		err  error
		want int
	}{
		"nothing":          {nil, http.StatusOK},
		"a result":         {cehttp.NewResult(http.StatusTeapot, "short and stout"), http.StatusTeapot},
		"a wrapped result": {fmt.Errorf("brew: %w", cehttp.NewResult(http.StatusTeapot, "short and stout")), http.StatusTeapot},
		"acknowledged":     {protocol.ResultACK, http.StatusOK},
		"not acknowledged": {protocol.ResultNACK, http.StatusInternalServerError},
		"a plain error":    {errStock, http.StatusInternalServerError},
		"poison itself":    {delivery.Poison(errStock), http.StatusInternalServerError},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, delivery.Status(c.err)) })
	}
}

func TestReasonIsTheTextWithoutTheStatus(t *testing.T) {
	for name, err := range map[string]error{"a result": delivery.Result(errStock), "a wrapped result": fmt.Errorf("brew: %w", delivery.Result(errStock)), "a plain error": errStock} {
		assert.Equal(t, errStock.Error(), delivery.Reason(err), name)
	}
}

// A KafkaSource retries exactly these statuses; its real data plane was tested.
func TestJudgeIsTheVerdictOfAKafkaSource(t *testing.T) {
	retried := map[int]bool{404: true, 408: true, 409: true, 429: true}
	for status := 100; status < 600; status++ {
		want := delivery.DeadLetter
		switch {
		case status >= 200 && status <= 299:
			want = delivery.Acknowledge
		case retried[status], status >= 500:
			want = delivery.Retry
		}
		assert.Equal(t, want, delivery.Judge(status), "status %d", status)
	}
	for name, status := range map[string]int{"redirect": 302, "not modified": 304, "bad request": 400, "unprocessable": 422, "too early": 425} {
		assert.Equal(t, delivery.DeadLetter, delivery.Judge(status), name)
	}
}
