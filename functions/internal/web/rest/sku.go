package rest

import (
	"net/http"
	"net/url"
	"strconv"

	"example.com/orders/events"
)

// PathSKU returns the SKU in the path, the wildcard sku of the pattern; its error is a *Problem.
func PathSKU(r *http.Request) (string, error) {
	sku := r.PathValue("sku")
	if !events.ValidSKU(sku) {
		return "", NewProblem(http.StatusBadRequest, "a SKU is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and not . or ..")
	}
	return sku, nil
}

// SKUPage is a page of a list that is sorted by SKU.
type SKUPage struct {
	After string // the last SKU of the previous page; empty for the first one
	Limit int    // how many SKUs a page has, 1 to 1000

	query url.Values
}

// ReadSKUPage reads the parameters limit (default 100) and after; its error is a *Problem.
func ReadSKUPage(r *http.Request) (SKUPage, error) {
	bad := NewProblem(http.StatusBadRequest, "the parameters are limit (1 to 1000) and after (a SKU), each at most once")
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return SKUPage{}, bad
	}
	p := SKUPage{Limit: 100, query: query}
	for name, values := range query {
		value, ok := values[0], false
		switch name {
		case "after":
			p.After, ok = value, events.ValidSKU(value)
		case "limit":
			p.Limit, err = strconv.Atoi(value)
			ok = err == nil && p.Limit >= 1 && p.Limit <= 1000
		}
		if !ok || len(values) > 1 {
			return SKUPage{}, bad
		}
	}
	return p, nil
}

// OneMore is how many rows to read: one more than the page has shows whether there is another page.
func (p SKUPage) OneMore() int32 { return int32(p.Limit) + 1 }

// Next returns the URL of the page after the one that ends with the SKU last, in the list at path.
func (p SKUPage) Next(path, last string) string {
	p.query.Set("after", last)
	return path + "?" + p.query.Encode()
}
