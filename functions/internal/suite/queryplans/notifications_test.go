package queryplans_test

import (
	"time"

	"example.com/orders/sql/notifications"
)

var notified = notifications.UpsertNotificationParams{
	Source: "/orders", EventID: order(absent) + "#2", OrderID: order(absent), OrderVersion: 2, Type: "order.confirmed",
	CustomerEmail: "alice@example.com", Status: notifications.NotificationsStatusCLAIMED, CreatedAt: now,
}

var notificationCalls = calls{
	"ClaimConversations":                    {notifications.ClaimConversationsParams{Claim: text(claim), LeaseMicros: 1, OrderIds: []string{order(fresh), order(done)}}},
	"DeleteNotificationsBefore":             {notifications.DeleteNotificationsBeforeParams{BeforeID: order(fresh), CreatedBefore: now.Add(time.Hour), Limit: page}},
	"EndConversations":                      {notifications.EndConversationsParams{Version: 2, OrderIds: []string{order(fresh), order(done)}, Claim: text(claim)}},
	"ForgetMailCount":                       {key(done)},
	"ListMailCounts":                        {[][]byte{key(fresh), key(done)}},
	"ListNotifications":                     {[]string{order(fresh), order(done)}},
	"ListNotificationsBetween":              {notifications.ListNotificationsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListNotificationsOf":                   {order(done)},
	"LockConversations":                     {[]string{order(fresh), order(done)}},
	"LockConversationsAndListNotifications": {[]string{order(fresh), order(done)}},
	"MarkNotificationsSent": {notifications.MarkNotificationsSentParams{
		SentAt: &now, EventIds: []string{order(fresh) + "#2", order(done) + "#2"}, Source: "/orders",
	}},
	"OpenMailCount":        {notifications.OpenMailCountParams{Address: key(absent), BegunAt: now}},
	"OpenMailCounts":       {[]notifications.OpenMailCountParams{{Address: key(absent), BegunAt: now}, {Address: key(done), BegunAt: now}}},
	"SetMailCount":         {notifications.SetMailCountParams{Address: key(done), BegunAt: now, Mails: 1}},
	"SetMailCounts":        {[]notifications.SetMailCountParams{{Address: key(done), BegunAt: now, Mails: 1}, {Address: key(fresh), BegunAt: now, Mails: 1}}},
	"OpenConversation":     {order(absent)},
	"OpenConversations":    {[]string{order(absent), order(done)}},
	"ReleaseConversations": {notifications.ReleaseConversationsParams{OrderIds: []string{order(done)}, Claim: text(claim)}},
	"UpsertNotification":   {notified},
	"UpsertNotifications":  {[]notifications.UpsertNotificationParams{notified}},
}
