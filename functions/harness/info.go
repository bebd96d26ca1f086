package main

import (
	"net/http"
	"slices"

	"example.com/orders/functions/internal/web/rest"
)

// info answers with what is running.
func (h *harness) info(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Build     build    `json:"build"`
		Functions []string `json:"functions"`
		Topics    []string `json:"topics"`
	}{Build: readBuild()}
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
