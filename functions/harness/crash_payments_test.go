package main

import (
	"testing"
	"time"
)

// misfortune is a gateway that declines, loses answers, and fails before and after the money has moved.
const misfortune = "decline=0.1,timeout=0.03,unknown=0.15,latency=5ms:10ms,amounts=plain"

// paidCrashes is the matrix where orders are paid: around each call of the gateway, each of the two transactions of a
// request, the offset, the relay and the dead letter.
func paidCrashes() []crash {
	all := []crash{
		{name: "kill -9 while it works and orders are paid", within: 2500 * time.Millisecond, pace: 60 * time.Millisecond, paid: misfortune},
		{name: "kill -9 with the bank in it", within: 2500 * time.Millisecond, pace: 60 * time.Millisecond, paid: misfortune, ownBank: true},
	}
	for function, most := range map[string]int{"authorize-payment": 10, "refund-payment": 4} {
		for _, point := range []string{".before-gateway", ".after-gateway", ".before-offset"} {
			all = append(all, crash{point: function + point, most: most, paid: misfortune})
		}
		for _, point := range []string{".before-commit", ".after-commit"} {
			all = append(all, crash{point: function + point, most: 2 * most, paid: misfortune})
		}
	}
	all = append(all, crash{name: "authorize-payment.after-gateway with the bank in it", point: "authorize-payment.after-gateway", most: 10, paid: misfortune, ownBank: true})
	for _, point := range []string{".before-publish", ".after-publish", ".after-mark", ".after-relay"} {
		all = append(all, crash{point: "publish-outbox-payments" + point, most: 10, paid: misfortune})
	}
	for function, topic := range map[string]string{
		"authorize-payment": "order.created", "refund-payment": "order.canceled", "reserve-stock": "payment.authorized", "finalize-order": "payment.declined",
	} {
		all = append(all, crash{point: function + ".dead-letter-written", most: 3, garbage: topic, paid: misfortune})
	}
	// Orders expire while the gateway is asked: each authorization is late.
	for _, point := range []string{"expire-orders.before-commit", "expire-orders.after-commit", "refund-payment.before-gateway", "refund-payment.after-gateway"} {
		all = append(all, crash{
			name: point + " of an order whose authorization is under way", point: point, most: 4,
			environ: []string{"SAGA_TIMEOUT=1ms"}, pace: 500 * time.Millisecond, paid: "latency=600ms,unknown=0.2,amounts=plain",
		})
	}
	return all
}

const paidCrashSample = 2

// TestNoMoneyIsLostOrDoubledByACrash is TestNothingIsLostDoubledOrOversoldByACrash where orders are paid, at a gateway that
// survives.
func TestNoMoneyIsLostOrDoubledByACrash(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	runCrashes(t, paidCrashes(), paidCrashSample)
}
