package queryplans_test

import (
	"time"

	"example.com/orders/sql/payments"
)

var (
	paid    = payments.OpenPaymentParams{OrderID: order(absent), Amount: 1, Currency: "EUR", Items: "[]", Cause: "{}", CreatedAt: now, UpdatedAt: now}
	ended   = payments.EndRequestParams{OrderID: order(fresh), Status: payments.PaymentsStatusAUTHORIZED, Reference: text("auth"), Version: 1, UpdatedAt: now}
	waiting = payments.PostponeRequestParams{OrderID: order(fresh), LastError: text("timeout"), WaitMicros: 1_000_000}
	money   = payments.InsertPaymentLogParams{
		OrderID: order(fresh), Entry: payments.PaymentLogEntryAUTHORIZED, Amount: 1, Currency: "EUR", Reference: text("auth"), Actor: "authorize-payment", CreatedAt: now,
	}
)

var paymentCalls = calls{
	"CountPayments":         {payments.CountPaymentsParams{Status: payments.PaymentsStatusREQUESTED, Limit: page}},
	"EndRequest":            {ended},
	"EndRequests":           {[]payments.EndRequestParams{ended}},
	"GetPayment":            {order(done)},
	"GetPaymentVersion":     {order(done)},
	"InsertPaymentLog":      {money},
	"InsertPaymentLogs":     {[]payments.InsertPaymentLogParams{money}},
	"LeaseRequests":         {payments.LeaseRequestsParams{LeaseMicros: 1, OrderIds: []string{order(fresh), order(done)}}},
	"ListDueRequests":       {payments.ListDueRequestsParams{Status: payments.PaymentsStatusREQUESTED, Limit: page}},
	"ListNewestPayments":    {payments.ListNewestPaymentsParams{Status: payments.PaymentsStatusAUTHORIZED, BeforeTime: now, BeforeID: order(last), Limit: page}},
	"ListOldestPayments":    {payments.ListOldestPaymentsParams{Status: payments.PaymentsStatusREQUESTED, AfterTime: now.Add(-time.Hour), AfterID: order(1), Limit: page}},
	"ListPaymentLog":        {payments.ListPaymentLogParams{OrderID: order(done), Limit: page}},
	"ListPaymentLogBetween": {payments.ListPaymentLogBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListPaymentLogOf":      {[]string{order(fresh), order(done)}},
	"ListPaymentsBetween":   {payments.ListPaymentsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListPaymentsOf":        {[]string{order(fresh), order(done)}},
	"LockPayments":          {[]string{order(fresh), order(done)}},
	"OldestPayment":         {payments.PaymentsStatusREQUESTED},
	"OpenPayment":           {paid},
	"OpenPayments":          {[]payments.OpenPaymentParams{paid}},
	"PostponeRequest":       {waiting},
	"PostponeRequests":      {[]payments.PostponeRequestParams{waiting}},
	"RequestAuthorizations": {payments.RequestAuthorizationsParams{LeaseMicros: 1, OrderIds: []string{order(fresh), order(done)}}},
	"RequestRefund":         {payments.RequestRefundParams{Reason: text("canceled"), Cause: "{}", LeaseMicros: 1, UpdatedAt: now, OrderID: order(done)}},
	"RetryPayment":          {order(fresh)},
	"RetryPayments":         {payments.RetryPaymentsParams{Status: payments.PaymentsStatusREFUNDREQUESTED, Limit: page}},
	"TallyPayments":         {},
}
