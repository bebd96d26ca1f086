package queryplans_test

import (
	"time"

	"example.com/orders/sql/operations"
)

var row int64 = done

var operationCalls = calls{
	"InsertLetterAction": {operations.InsertLetterActionParams{
		Topic: letters, Consumer: "notify", EventSource: "/orders", EventID: order(done) + "#1", Action: operations.DeadLetterActionsActionPARKED, Actor: "alice",
	}},
	"InsertLetterActions": {[]operations.InsertLetterActionParams{
		{Topic: letters, Action: operations.DeadLetterActionsActionREPLAYSTARTED}, {Topic: letters, Action: operations.DeadLetterActionsActionREPLAYED},
	}},
	"InsertLetterCorrection": {operations.InsertLetterCorrectionParams{Topic: letters, Original: []byte("{"), Corrected: []byte("{}"), Actor: "alice"}},
	"LastLetterAction":       {},
	"ListActionsOfLetters":   {[]operations.LetterPlace{{Topic: letters, Partition: 1, Offset: 1}, {Topic: letters, Partition: 2, Offset: 2}}},
	"ListLetterActionsAfter": {operations.ListLetterActionsAfterParams{ID: done, Limit: page}},
	"ListLetterCorrections":  {operations.ListLetterCorrectionsParams{Topic: letters, KafkaPartition: 1, KafkaOffset: 1}},
	"InsertForgetAction":     {operations.InsertForgetActionParams{Known: operations.ForgetActionsKnownEMAIL, Orders: 1, Actor: "alice"}},
	"InsertOutboxAction":     {operations.InsertOutboxActionParams{SchemaName: "orders", RowID: &row, Action: operations.OutboxActionsActionREQUEUE, Actor: "alice"}},
	"InsertPaymentAction":    {operations.InsertPaymentActionParams{OrderID: text(order(done)), Action: operations.PaymentActionsActionRETRY, Actor: "alice"}},
	"ListLastLetterActions":  {int32(page)},
	"ListLastOutboxActions":  {int32(page)},
	"ListLastPaymentActions": {int32(page)},
	"ListLetterActions":      {operations.ListLetterActionsParams{Topic: letters, KafkaPartition: 1, FirstOffset: 1, LastOffset: 2 * page}},
	"ListOutboxActions":      {operations.ListOutboxActionsParams{SchemaName: "orders", RowID: &row}},
	"ListLostSince":          {operations.ListLostSinceParams{At: time.Now().Add(-time.Hour), Limit: page}},
	"ListPaymentActions":     {operations.ListPaymentActionsParams{OrderID: text(order(done)), Limit: page}},
	"RecordLost":             {operations.RecordLostParams{Topic: "order.created", Consumer: "notify", FirstOffset: 5, NextOffset: 7, At: time.Now()}},
	"ListReplayed":           {operations.ListReplayedParams{ID: 1, Limit: page}},
	"SetForgetOutcome":       {operations.SetForgetOutcomeParams{Outcome: text("done"), ID: done}},
	"SetOutboxOutcome":       {operations.SetOutboxOutcomeParams{Outcome: text("done"), ID: done}},
	"SetPaymentOutcome":      {operations.SetPaymentOutcomeParams{Outcome: text("done"), ID: done}},
}
