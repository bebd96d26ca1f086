package scaffold

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/orders/knative"
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
	p.change("sql/privilege/table.go",
		before("\t\""+relay, fmt.Sprintf("\t%q: {schema.%s: reacts},\n", p.Name, strings.ToUpper(p.Schema[:1])+p.Schema[1:])))
	p.change("knative/components/local/secrets.yaml", before("  "+relay, fmt.Sprintf("  %s: %s:local@tcp(mysql.orders:3306)/\n", p.Name, p.Name)))
}

// relay is the name of the Service that the files list after those of the functions. That of an overlay is another one.
const relay, anyRelay = "publish-outbox-orders", "publish-outbox-"

// manifests plans the manifests of the function, and of its topics.
func (p *plan) manifests(hasDeadLetters bool) {
	folder := p.Manifests() + "/"
	last := relay + ".yaml"
	if p.Overlay != "" {
		last = anyRelay
	}
	p.create(folder+p.Name+".yaml", "manifest.yaml")
	p.change(folder+"kustomization.yaml", before("  - "+last, "  - "+p.Name+".yaml\n"))
	production := "knative/components/production"
	if p.Overlay != "" {
		production = "knative/overlays/production-" + p.Overlay
	}
	patched, logins := production+"/kustomization.yaml", p.logins(!hasDeadLetters)
	for _, environment := range p.environments() {
		edits := []edit{p.image}
		if environment == patched {
			edits = append(edits, before("images:\n", logins))
		}
		p.change(environment, edits...)
	}
	if p.Overlay != "" { // there the patches come last
		p.change(patched, func(text string) (string, error) { return text + logins, nil })
	}
	p.change(production+"/dead-letter-senders.yaml", p.setsAside)
	var topics []edit
	if p.Emits != "" {
		topics = append(topics, another(p.Emits))
		p.sinks()
	}
	if !hasDeadLetters {
		topics = append(topics, another(p.On+knative.DeadLetterSuffix))
		p.change(folder+"dead-letters.yaml", another(p.On+knative.DeadLetterSuffix))
	}
	if len(topics) > 0 {
		p.change(folder+"topics.yaml", topics...)
	}
}

// logins returns the patches by which the function's source, and the KafkaSink of its dead letters if that is new, log in to Kafka.
func (p *plan) logins(withSink bool) string {
	text := p.render("login.yaml")
	if withSink {
		text += p.render("login-sink.yaml")
	}
	return text
}

// setsAside lets the function's source send dead letters. It is a policy of its own: those of one KafkaSink add up.
func (p *plan) setsAside(text string) (string, error) { return text + p.render("policy.yaml"), nil }

// sinks plans the KafkaSink of the event, for relays that publish through those: it takes events of the relay alone.
func (p *plan) sinks() {
	folder := "knative/components/kafka-sinks"
	events := folder
	if p.Overlay != "" {
		events += "-" + p.Overlay
	}
	p.change(events+"/events.yaml", another(p.Emits))
	patch := "/relay-" + p.Schema + ".yaml"
	if _, err := os.Stat(filepath.Join(p.root, filepath.FromSlash(folder+patch))); err != nil {
		folder = events // the relay is one of the overlay
	}
	p.change(folder+"/senders.yaml", before("  from:\n    - sub: system:serviceaccount:orders:"+anyRelay+p.Schema,
		fmt.Sprintf("    - ref:\n        apiVersion: eventing.knative.dev/v1alpha1\n        kind: KafkaSink\n        name: %s\n", p.Emits)))
	p.change(folder+patch, func(text string) (string, error) {
		return text + fmt.Sprintf("        - serviceAccountToken:\n            audience: eventing.knative.dev/kafkasink/orders/%s\n            path: %s\n", p.Emits, p.Emits), nil
	})
}

// environments lists the files that name the images, one for each kind of cluster.
func (p *plan) environments() (files []string) {
	all, err := filepath.Glob(filepath.Join(p.root, "knative", "components", "*", "kustomization.yaml"))
	if err != nil {
		p.fail(err)
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			p.fail(err)
		}
		if strings.Contains(string(text), "\nimages:\n") {
			files = append(files, "knative/components/"+filepath.Base(filepath.Dir(path))+"/kustomization.yaml")
		}
	}
	return files
}

// Headings of the tables in the READMEs. Those of an overlay have only what it adds or changes.
const routesHeading, factsHeading = "| topic%s | consumers |", "| type, in its newest version%s | source | producers | when | consumers |"

func heading(of, overlay string) string {
	if overlay != "" {
		overlay = ", overlay " + overlay
	}
	return fmt.Sprintf(of, overlay)
}

// tables plans the rows about the function and its event.
func (p *plan) tables(wiring, base *knative.Wiring) {
	var routes, facts []edit
	if p.Overlay == "" {
		routes = append(routes, heard(p.On, p.Name))
		for _, overlay := range knative.Routings() {
			routes = append(routes, optional(within(heading(routesHeading, overlay), heard(p.On, p.Name))))
		}
		facts = append(facts, heard(p.On, p.Name))
	} else {
		table := heading(routesHeading, p.Overlay)
		routes = append(routes, either(within(table, heard(p.On, p.Name)), row(table, "| "+p.On+" | "+strings.Join(append(consumers(wiring, p.On), p.Name), ", ")+" |")))
		if !slices.ContainsFunc(base.Topics, func(t knative.Topic) bool { return t.Name == p.On }) {
			facts = append(facts, within(heading(factsHeading, p.Overlay), heard(p.On, p.Name)))
		}
	}
	if p.Emits != "" {
		facts = append(facts, row(heading(factsHeading, p.Overlay),
			fmt.Sprintf("| [%s](testdata/%s.v1.json) | `/%s` | %s | %s was handled | %s |", p.Emits, p.Emits, p.Family(), p.Name, p.On, nobody)))
		routes = append(routes, row(heading(routesHeading, p.Overlay), "| "+p.Emits+" | "+nobody+" |"))
	}
	p.change("knative/README.md", routes...)
	if len(facts) > 0 {
		p.change("events/README.md", facts...)
	}
	env := "none"
	if p.Emits != "" {
		env = fmt.Sprintf("pokes(%q)", p.Schema)
	}
	begin := fmt.Sprintf("\t%s := map[string]deployment{", cmp.Or(p.Overlay, knative.BaseName))
	p.change("knative/wiring_test.go", atEnd(begin, fmt.Sprintf("\t\t%q: {%q, false, %s},\n", p.Name, p.Folder, env)))
}

// consumers lists the functions that get the events of a topic.
func consumers(w *knative.Wiring, topic string) (names []string) {
	for _, s := range w.Sources {
		if s.Topic == topic {
			names = append(names, s.Sink)
		}
	}
	return names
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
	p.create("events/avro/"+p.Emits+".v1.avsc", "schema.avsc")
	p.create("events/testdata/"+p.Emits+".v1.json", "golden.json")
	p.change("events/event.go", sorted(regexp.MustCompile(`(?m)^\t[A-Z]\w+\{\},$`), "\t"+p.EmitsGo()+"{},"))
	p.change("events/golden_test.go",
		atEnd("var samples = map[string]events.Data{", fmt.Sprintf("\tevents.%sType: events.%s{OrderID: orderID, CreatedAt: createdAt.Add(84 * time.Millisecond)},\n", p.EmitsGo(), p.EmitsGo())),
		atEnd("var readers = map[string]func(event.Event) (events.Data, error){", fmt.Sprintf("\tevents.%sType: reader[events.%s],\n", p.EmitsGo(), p.EmitsGo())))
	p.change(emitsFile,
		atEnd("var emits = map[string][]string{", fmt.Sprintf("\t%q: {events.%sType},\n", p.Folder, p.EmitsGo())))
}
