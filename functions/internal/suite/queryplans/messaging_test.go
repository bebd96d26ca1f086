package queryplans_test

import "example.com/orders/sql/messaging"

var (
	stored = messaging.InsertEventParams{
		Shard: 1, AggregateType: "ORDER", AggregateID: order(absent), Type: "order.created", Payload: "{}", Headers: "{}", CreatedAt: now, HoldMicros: &second,
	}
	second  = 1_000_000
	handled = messaging.InsertHandledParams{Consumer: "notify", Source: "/orders", EventID: order(absent) + "#1", ProcessedAt: now}
)

var messagingCalls = calls{
	"ClaimOneShard":       {uint8(1)},
	"ClaimShard":          {messaging.ListNewParams{Shard: shard(fresh), Limit: page}},
	"ClaimShards":         {[]uint8{1, 3}},
	"CountByStatus":       {messaging.CountByStatusParams{Status: messaging.OutboxStatusERROR, Limit: page}},
	"CountSentBefore":     {&now},
	"DeleteHandledBefore": {messaging.DeleteHandledBeforeParams{ProcessedAt: now, Limit: page}},
	"DeleteSentRange":     {messaging.DeleteSentRangeParams{FirstID: fresh, LastID: fresh + page, SentBefore: &now}},
	"DeleteWaiting":       {int64(retried)},
	"Discard":             {int64(parked)},
	"FirstEvent":          {},
	"FirstEventFrom":      {int64(fresh)},
	"GetState":            {int64(done)},
	"GetStored":           {int64(done)},
	"HoldBack":            {messaging.HoldBackParams{NextAttemptAt: &now, ID: fresh}},
	"HoldersOf":           {shard(held), []string{order(retried), order(held)}},
	"InsertAllHandled":    {[]messaging.InsertHandledParams{handled}},
	"InsertAllWaiting":    {[]messaging.InsertWaitingParams{{ID: retried, AggregateID: order(retried)}, {ID: absent, AggregateID: order(absent)}}},
	"InsertEvent":         {stored},
	"InsertEvents":        {[]messaging.InsertEventParams{stored, stored}},
	"InsertHandled":       {handled},
	"InsertRequeued":      {int64(discarded)},
	"InsertWaiting":       {messaging.InsertWaitingParams{ID: retried, AggregateID: order(retried)}},
	"LastEvent":           {},
	"LastOfRange":         {messaging.LastOfRangeParams{ID: fresh, Limit: page}},
	"LeaveToRelay":        {messaging.LeaveToRelayParams{LastError: text("left out"), ID: fresh}},
	"ListByStatus":        {messaging.ListByStatusParams{Shard: shard(fresh), Status: messaging.OutboxStatusNEW, Limit: page}},
	"ListDue":             {messaging.ListDueParams{Shard: shard(retried), Limit: page}},
	"ListDueWithHolders":  {messaging.ListDueParams{Shard: shard(retried), Limit: page}, []string{order(retried), order(fresh)}},
	"ListEventsOf":        {messaging.ListEventsOfParams{Shard: shard(done), FromID: done - 1, ToID: done + page, AggregateID: order(done), Limit: page}},
	"ListHandled":         {messaging.ListHandledParams{EventIds: []string{order(fresh) + "#1", order(done) + "#1"}, Consumer: "notify"}},
	"ListHandledBetween":  {messaging.ListHandledBetweenParams{FromID: order(done) + "#", ToID: order(done) + "$", Limit: page}},
	"ListHeld":            {shard(held)},
	"ListHolders":         {[]string{order(retried), order(fresh)}},
	"ListNew":             {messaging.ListNewParams{Shard: shard(fresh), Limit: page}},
	"ListNewestEvents":    {messaging.ListNewestEventsParams{BeforeID: fresh, Limit: page}},
	"ListNewOfEach":       {[]messaging.ListNewParams{{Shard: shard(fresh), Limit: page}, {Shard: shard(done), Limit: page}}},
	"ListPendingShards":   {[]uint8{1, 3}},
	"ListStored":          {messaging.ListStoredParams{ID: fresh, Limit: page}},
	"ListUnconfirmed":     {messaging.ListUnconfirmedParams{Shard: shard(fresh), Limit: page}},
	"ListWaiting":         {messaging.ListWaitingParams{Shard: shard(retried), Status: messaging.OutboxStatusERROR, Limit: page}},
	"MarkOneSent":         {messaging.MarkOneSentParams{SentAt: &now, ID: fresh}},
	"MarkSent":            {[]messaging.Sent{{ID: fresh, At: now}, {ID: retried, At: now}}},
	"OldestByStatus":      {messaging.OutboxStatusERROR},
	"Park":                {messaging.ParkParams{LastError: text("refused"), ID: retried}},
	"Release":             {[]int64{held, held + 1}},
	"RecordRefusal":       {messaging.RecordRefusalParams{LastError: text("refused"), WaitMicros: 1, ID: fresh}},
	"Requeue":             {int64(discarded)},
	"Resend":              {messaging.ResendParams{LastError: text("lost"), ID: done}},
	"WalkEvents":          {messaging.WalkEventsParams{ID: fresh, Limit: page}},
	"WalkEventsOf":        {[]int64{fresh, done}},
	"WatchWaiting":        {messaging.WatchWaitingParams{Shards: []uint8{1, 3}, Status: messaging.OutboxStatusERROR, Limit: page}},
}
