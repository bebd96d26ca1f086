package main

import (
	"net/http"
	"slices"

	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/knative"
)

// info answers with what is running.
func (h *harness) info(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Build build `json:"build"`
		// Overlay is the name of the overlay whose wiring is acted out, base for none.
		Overlay   string   `json:"overlay"`
		Functions []string `json:"functions"`
		Topics    []string `json:"topics"`
	}{Build: readBuild(), Overlay: or(h.wiring.Overlay, knative.BaseName)}
	for name := range h.functions {
		answer.Functions = append(answer.Functions, name)
	}
	for _, topic := range h.wiring.Topics {
		answer.Topics = append(answer.Topics, topic.Name)
	}
	slices.Sort(answer.Functions)
	slices.Sort(answer.Topics)
	_ = rest.JSON(w, http.StatusOK, answer) // encoding strings cannot fail
}
