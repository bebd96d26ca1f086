package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/direct"
	"example.com/orders/functions/internal/web/secret"
)

// HTTP is a gateway that speaks the contract over HTTP. It bounds no time by itself: Guard it.
type HTTP struct {
	base   string
	token  string
	client *http.Client
}

// Bounds of answers, in bytes.
const (
	maxAnswer  = 64 << 10
	maxLedger  = 1 << 20
	maxHeaders = 64 << 10
)

// NewHTTP returns the gateway at a URL, such as http://127.0.0.1:8085. Without a token no login is sent. It keeps up to calls
// connections open between the calls.
func NewHTTP(base, token string, calls int) *HTTP {
	transport := direct.Transport()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = calls, calls
	transport.MaxResponseHeaderBytes = maxHeaders
	transport.DisableCompression = true
	return &HTTP{base: strings.TrimRight(base, "/"), token: token, client: &http.Client{
		Transport: transport,
		// Following a redirect would drop the body, and send the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Authorize implements Gateway.
func (h *HTTP) Authorize(ctx context.Context, a Authorization) (Answer, error) {
	if err := a.check(); err != nil {
		return Answer{}, notAsked{err}
	}
	answer, err := h.ask(ctx, http.MethodPut, "/authorizations/"+a.Key, map[string]any{
		"orderId": a.OrderID, "amount": a.Amount, "currency": a.Currency,
	})
	if err != nil {
		return Answer{}, err
	}
	return answer.to(ofAuthorization, a.Amount, a.Currency)
}

// Refund implements Gateway.
func (h *HTTP) Refund(ctx context.Context, r Refund) (Answer, error) {
	if err := r.check(); err != nil {
		return Answer{}, notAsked{err}
	}
	answer, err := h.ask(ctx, http.MethodPut, "/refunds/"+r.Key, map[string]any{
		"authorization": r.AuthorizationKey, "amount": r.Amount, "currency": r.Currency,
	})
	if err != nil {
		return Answer{}, err
	}
	return answer.to(ofRefund, r.Amount, r.Currency)
}

// Lookup implements Gateway. The key is one of AuthorizationKey or RefundKey.
func (h *HTTP) Lookup(ctx context.Context, key string) (Answer, error) {
	of, err := kindOf(key)
	if err == nil && !ValidKey(key) {
		err = notAsked{invalid("the key %q", key)}
	}
	if err != nil {
		return Answer{}, err
	}
	path := "/authorizations/"
	if of == ofRefund {
		path = "/refunds/"
	}
	answer, err := h.ask(ctx, http.MethodGet, path+key, nil)
	if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Status == http.StatusNotFound {
		return Answer{}, ErrUnknownKey
	}
	if err != nil {
		return Answer{}, err
	}
	return answer.to(of, answer.Amount, answer.Currency)
}

// Ledger reads the money of a gateway.
type Ledger interface {
	// Ledger returns up to limit orders that had money authorized, in the order of their ids, from the first one after an id;
	// next is the id to go on after, empty after the last page. limit is 1 to MaxPage.
	Ledger(ctx context.Context, after string, limit int) (page []Holding, next string, err error)
}

// MaxPage is the largest page of a ledger, in orders.
const MaxPage = 1000

// Ledger implements the interface Ledger.
func (h *HTTP) Ledger(ctx context.Context, after string, limit int) (page []Holding, next string, err error) {
	body, err := h.send(ctx, http.MethodGet, "/ledger?"+url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}.Encode(), nil, maxLedger)
	if err != nil {
		return nil, "", err
	}
	var answer struct {
		Orders []Holding `json:"orders"`
		Next   string    `json:"next"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, "", fmt.Errorf("read a page of the payment gateway's ledger: %w", err)
	}
	last := after
	for _, holding := range answer.Orders {
		// A page that does not go on would make a reader of all pages run forever.
		if holding.OrderID <= last {
			return nil, "", fmt.Errorf("the payment gateway's ledger has the order %q after %q: it must be in the order of the ids", holding.OrderID, last)
		}
		if !ValidAmount(holding.Authorized) || !ValidAmount(holding.Refunded) {
			return nil, "", fmt.Errorf("the payment gateway's ledger has amounts of the order %s that are out of bounds", holding.OrderID)
		}
		last = holding.OrderID
	}
	if answer.Next != "" && (len(answer.Orders) == 0 || answer.Next != last) {
		return nil, "", fmt.Errorf("the payment gateway's ledger goes on after %q, and the last order of the page is %q", answer.Next, last)
	}
	return answer.Orders, answer.Next, nil
}

// ask sends a request and reads the answer of the gateway, if that is one.
func (h *HTTP) ask(ctx context.Context, method, path string, body any) (a wireAnswer, err error) {
	text, err := h.send(ctx, method, path, body, maxAnswer)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("read the answer of the payment gateway: %w", err)
	}
	return a, nil
}

// send sends a request and returns the JSON of its answer. The error is notAsked if the request did not leave this machine,
// or the gateway says that it did nothing; a Refusal for another status from 400 to 499.
func (h *HTTP) send(ctx context.Context, method, path string, body any, most int64) (_ []byte, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, notAsked{err}
	}
	var sending io.Reader
	if body != nil {
		sending = bytes.NewReader(text)
	}
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(traced, method, h.base+path, sending)
	if err != nil {
		return nil, notAsked{err}
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if h.token != "" {
		request.Header.Set("Authorization", "Bearer "+h.token)
	}
	response, err := h.client.Do(request)
	if err != nil {
		err = fmt.Errorf("ask the payment gateway: %w", err)
		if !connected.Load() {
			return nil, notAsked{err}
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the payment gateway's answer %d: %w", response.StatusCode, err)
	}
	if int64(len(answer)) > most {
		return nil, fmt.Errorf("the payment gateway's answer %d is larger than %d bytes", response.StatusCode, most)
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // empty if it is broken
	if response.StatusCode == http.StatusOK && media == "application/json" {
		return answer, nil
	}
	return nil, refused(response.StatusCode, media, []byte(secret.Masked(string(answer), "", h.token)))
}

// refused returns the error for an answer other than the wanted one.
func refused(status int, media string, body []byte) error {
	problem := struct {
		Detail string `json:"detail"`
	}{}
	if media == "application/problem+json" {
		_ = json.Unmarshal(body, &problem) // without a detail if it is broken
	}
	detail := oneline.Of(problem.Detail, 200)
	if detail == "" {
		detail = fmt.Sprintf("%q", oneline.Of(string(body), 200))
	}
	isProblem := media == "application/problem+json"
	switch {
	// A proxy answers 503 as well, after it has passed the request on; the gateway itself has done nothing.
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && isProblem:
		return notAsked{fmt.Errorf("the payment gateway is busy (%d): %s", status, detail)}
	// Without problem details it is not the gateway's 404, and says nothing about a key.
	case status == http.StatusNotFound && !isProblem, status == http.StatusRequestTimeout:
	case status >= 400 && status <= 499:
		return &Refusal{status, detail}
	}
	return fmt.Errorf("the payment gateway answered %d (%s) instead of JSON with 200: %s", status, media, detail)
}

// wireAnswer is an answer as the gateway sent it.
type wireAnswer Answer

// reasons are the reasons that events may carry.
var reasons = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// otherReason stands for a reason that an event may not carry.
const otherReason = "declined"

// to returns the answer to a request of a kind about an amount, or an error if it is none.
func (w wireAnswer) to(of kind, amount int64, currency string) (Answer, error) {
	fits := map[Status]kind{Authorized: ofAuthorization, Declined: ofAuthorization, Closed: ofAuthorization, Refunded: ofRefund, Nothing: ofRefund}
	wanted, known := fits[w.Status]
	if !known || wanted != of {
		return Answer{}, fmt.Errorf("the payment gateway answered with the status %q, which does not belong to the request", oneline.Of(string(w.Status), 64))
	}
	if w.Currency != currency || !ValidCurrency(w.Currency) {
		return Answer{}, fmt.Errorf("the payment gateway answered in the currency %q, and was asked in %q", oneline.Of(w.Currency, 16), currency)
	}
	a := Answer{Status: w.Status, Currency: currency}
	switch w.Status {
	case Authorized, Refunded:
		if w.Amount != amount || !ValidAmount(w.Amount) || !ValidKey(w.Reference) {
			return Answer{}, fmt.Errorf("the payment gateway answered %s for the amount %d with the reference %q, and was asked about %d",
				w.Status, w.Amount, oneline.Of(w.Reference, 64), amount)
		}
		a.Amount, a.Reference = w.Amount, w.Reference
	case Declined:
		if a.Reason = w.Reason; !reasons.MatchString(w.Reason) {
			a.Reason = otherReason
		}
	case Closed, Nothing: // no money
	}
	return a, nil
}
