package queryplans_test

import "example.com/orders/sql/notifications"

var told = notifications.InsertNotificationParams{
	Source: "/orders", EventID: order(absent) + "#2", OrderID: order(absent), OrderVersion: 2, Type: "order.confirmed",
	CustomerEmail: "alice@example.com", CreatedAt: now,
}

var notificationCalls = calls{
	"ClaimConversation":  {notifications.ClaimConversationParams{Claim: text(claim), LeaseMicros: 1, OrderID: order(done)}},
	"ClaimConversations": {notifications.ClaimConversationsParams{Claim: text(claim), LeaseMicros: 1, OrderIds: []string{order(fresh), order(done)}}},
	"CountNotifications": {notifications.CountNotificationsParams{
		OrderIds: []string{order(fresh), order(done)}, EventIds: []string{order(fresh) + "#2", order(done) + "#2"}, Source: "/orders",
	}},
	"EndConversation":          {notifications.EndConversationParams{Version: 2, OrderID: order(done), Claim: text(claim)}},
	"EndConversations":         {notifications.EndConversationsParams{Version: 2, OrderIds: []string{order(fresh), order(done)}, Claim: text(claim)}},
	"GetNotificationStatus":    {notifications.GetNotificationStatusParams{EventID: order(done) + "#2", Source: "/orders"}},
	"InsertNotification":       {told},
	"InsertNotifications":      {[]notifications.InsertNotificationParams{told}},
	"ListNotificationsBetween": {notifications.ListNotificationsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListNotificationsOf":      {order(done)},
	"LockConversation":         {order(done)},
	"LockConversations":        {[]string{order(fresh), order(done)}},
	"MarkNotificationSent":     {notifications.MarkNotificationSentParams{SentAt: &now, EventID: order(fresh) + "#2", Source: "/orders"}},
	"MarkNotificationsSent": {notifications.MarkNotificationsSentParams{
		SentAt: &now, EventIds: []string{order(fresh) + "#2", order(done) + "#2"}, Source: "/orders",
	}},
	"NewestClaimed":       {order(fresh)},
	"OpenConversation":    {order(absent)},
	"OpenConversations":   {[]string{order(absent), order(done)}},
	"ReleaseConversation": {notifications.ReleaseConversationParams{OrderID: order(done), Claim: text(claim)}},
	"UpsertNotification": {notifications.UpsertNotificationParams{
		Source: "/orders", EventID: order(absent) + "#2", OrderID: order(absent), OrderVersion: 2, Type: "order.confirmed",
		CustomerEmail: "alice@example.com", Status: notifications.NotificationsStatusCLAIMED, CreatedAt: now,
	}},
}
