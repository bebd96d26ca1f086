package scaffold

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
)

// function plans the function itself, with the line of the catalogue.
func (p *plan) function() {
	folder := "functions/" + p.Folder + "/"
	p.create(folder+p.Folder+".go", "function.go")
	p.create(folder+p.Folder+"_test.go", "function_test.go")
	p.create(folder+"func.yaml", "func.yaml")
	p.change("functions/functions.go",
		sorted(regexp.MustCompile(`(?m)^\t"`+module+`/functions/.*"$`), "\t"+strconv.Quote(module+"/functions/"+p.Folder)),
		sorted(regexp.MustCompile(`(?m)^\t"[a-z0-9]+": +func\(\) Function.*$`), fmt.Sprintf("\t%q: func() Function { return %s.New() },", p.Folder, p.Folder)))
}

// relay is the name of the Service that the files list after those of the functions.
const relay = "publish-outbox-orders"

// wiring plans what the manifests say of the function, and of its topics.
func (p *plan) wiring(hasDeadLetters bool) {
	p.create("knative/base/"+p.Name+".yaml", "manifest.yaml")
	p.change("knative/base/kustomization.yaml", before("  - "+relay+".yaml", "  - "+p.Name+".yaml\n"))
	overlays, err := filepath.Glob(filepath.Join(p.root, "knative", "overlays", "*", "kustomization.yaml"))
	if err != nil {
		p.fail(err)
	}
	for _, overlay := range overlays {
		p.change("knative/overlays/"+filepath.Base(filepath.Dir(overlay))+"/kustomization.yaml", p.image)
	}
	var topics, sinks []edit
	who, catalogue := []edit{heard(p.On, p.Name)}, []edit{heard(p.On, p.Name)}
	if p.Emits != "" {
		catalogue = append(catalogue, row("| type, version 1 | source | producers | when | consumers |",
			fmt.Sprintf("| [%s](testdata/%s.v1.json) | `/%s` | %s | %s was handled | %s |", p.Emits, p.Emits, p.Family(), p.Name, p.On, nobody)))
		topics = append(topics, another(p.On, p.Emits, "order.created"+deadLetterSuffix))
		sinks = append(sinks, another(p.On, p.Emits, ""))
		who = append(who, row("| topic | consumers |", "| "+p.Emits+" | "+nobody+" |"))
	}
	if !hasDeadLetters {
		const like = "order.created" + deadLetterSuffix
		topics = append(topics, another(like, p.On+deadLetterSuffix, ""))
		p.change("knative/base/dead-letters.yaml", another(like, p.On+deadLetterSuffix, ""))
	}
	if len(topics) > 0 {
		p.change("knative/base/topics.yaml", topics...)
	}
	if len(sinks) > 0 {
		p.change("knative/base/events.yaml", sinks...)
	}
	p.change("knative/README.md", who...)
	p.change("events/README.md", catalogue...)
	env := "none"
	if p.Emits != "" {
		env = fmt.Sprintf("pokes(%q)", p.Schema)
	}
	p.change("knative/wiring_test.go", atEnd("\twant := map[string]deployed{", fmt.Sprintf("\t\t%q: {%q, false, %s},\n", p.Name, p.Folder, env)))
}

var imageOfRelay = regexp.MustCompile(`(?m)^  - name: (.*)/` + relay + `\n    newName: (.*)/` + relay + `\n    newTag: (.*)\n`)

// image lists the image of the function, from where that of a relay is.
func (p *plan) image(text string) (string, error) {
	found := imageOfRelay.FindStringSubmatchIndex(text)
	if found == nil {
		return "", fmt.Errorf("there is no image of %s", relay)
	}
	at := found[0]
	part := func(n int) string { return text[found[2*n]:found[2*n+1]] }
	return text[:at] + fmt.Sprintf("  - name: %s\n    newName: %s\n    newTag: %s\n", path.Join(part(1), p.Name), path.Join(part(2), p.Name), part(3)) + text[at:], nil
}

// event plans the event that the function emits, and who says that it does.
func (p *plan) event() {
	p.unnamed("events", p.EmitsGo(), p.EmitsGo()+"Type", p.Source())
	p.create("events/"+p.Family()+".go", "event.go")
	p.create("events/schemas/"+p.Emits+".v1.json", "schema.json")
	p.create("events/testdata/"+p.Emits+".v1.json", "golden.json")
	p.change("events/event.go", sorted(regexp.MustCompile(`(?m)^\t[A-Z]\w+\{\},$`), "\t"+p.EmitsGo()+"{},"))
	p.change("events/golden_test.go",
		atEnd("var samples = map[string]events.Data{", fmt.Sprintf("\tevents.%sType: events.%s{OrderID: orderID, CreatedAt: createdAt.Add(84 * time.Millisecond)},\n", p.EmitsGo(), p.EmitsGo())),
		atEnd("var readers = map[string]func(event.Event) (events.Data, error){", fmt.Sprintf("\tevents.%sType: reader[events.%s],\n", p.EmitsGo(), p.EmitsGo())))
	p.change("functions/internal/operate/console/topology.go",
		atEnd("var emits = map[string][]string{", fmt.Sprintf("\t%q: {events.%sType},\n", p.Folder, p.EmitsGo())))
}
