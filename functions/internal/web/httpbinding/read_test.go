package httpbinding_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/rest"
)

const most = 1000

// binary returns the headers of an event in binary mode; more sets headers, and an empty value removes one.
func binary(more ...string) http.Header {
	header := http.Header{}
	for _, pairs := range [][]string{
		{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/shop", "Ce-Type", "t", "Content-Type", "application/json"}, more,
	} {
		for i := 0; i < len(pairs); i += 2 {
			if header.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				header.Del(pairs[i])
			}
		}
	}
	return header
}

// structured returns the headers of an event in structured mode.
func structured(parameters ...string) http.Header {
	return http.Header{"Content-Type": {event.ApplicationCloudEventsJSON + strings.Join(parameters, "")}}
}

// envelope returns an event in structured mode with more members.
func envelope(more string) string {
	return `{"specversion":"1.0","id":"1","source":"/shop","type":"t"` + more + `}`
}

func read(t testing.TB, method string, header http.Header, body io.Reader) (event.Event, *httptest.ResponseRecorder, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", body)
	r.Header = header
	w := httptest.NewRecorder()
	e, err := httpbinding.Read(w, r, most)
	return e, w, err
}

func taken(t testing.TB, header http.Header, body string) event.Event {
	t.Helper()
	e, _, err := read(t, http.MethodPost, header, strings.NewReader(body))
	require.NoError(t, err)
	return e
}

func refused(t testing.TB, err error) *rest.Problem {
	t.Helper()
	var problem *rest.Problem
	require.ErrorAs(t, err, &problem)
	assert.NotEmpty(t, problem.Detail)
	return problem
}

func TestBothModesMakeTheSameEvent(t *testing.T) {
	for name, text := range map[string]string{
		"plain": "event-1", "a space": "a b", "a quote": `a"b`, "in quotes": `"a b"`, "a backslash": `a\b`, "beyond ASCII": "Euro € 😀",
		"a percent sign": "50% off", "what looks encoded": "a%20b", "of two rounds": "a%2520b", "only a percent sign": "%",
		"a plus": "a+b", "a colon": "a:b", "a tilde": "~", "half a quote": `"a`,
	} {
		t.Run(name, func(t *testing.T) {
			e := event.New()
			e.SetID(text)
			e.SetSource("/shop")
			e.SetType(text)
			e.SetSubject(text)
			e.SetExtension("stage", text)
			require.NoError(t, e.SetData(event.ApplicationJSON, map[string]string{"a": text}))
			r, err := httpbinding.NewRequest(t.Context(), "http://function/", e)
			require.NoError(t, err)
			for header, values := range r.Header {
				assert.Regexp(t, `^[!#-~]+$`, values[0], header)
			}
			w := httptest.NewRecorder()
			inBinary, err := httpbinding.Read(w, r, most)
			require.NoError(t, err)
			asJSON, err := json.Marshal(e)
			require.NoError(t, err)

			assert.Equal(t, e, inBinary)
			assert.Equal(t, e, taken(t, structured(), string(asJSON)))

			answer := httptest.NewRecorder()
			require.NoError(t, httpbinding.WriteResponse(answer, http.StatusAccepted, e))
			assert.Equal(t, http.StatusAccepted, answer.Code)
			assert.Equal(t, r.Header, answer.Header())
			assert.Equal(t, e.Data(), answer.Body.Bytes())
		})
	}
}

func TestHeaderValuesAreDecodedAsTheBindingSays(t *testing.T) {
	for name, c := range map[string]struct{ sent, want string }{
		"its example":                      {"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"},
		"lower-case digits":                {"%e2%82%ac", "€"},
		"without need":                     {"%61", "a"},
		"one round only":                   {"a%2520b", "a%20b"},
		"a quoted string":                  {`"a b"`, "a b"},
		"escapes in a quoted string":       {`"a\"b\\c"`, `a"b\c`},
		"a quoted string that is encoded":  {`"a%20b"`, "a b"},
		"a quoted string with a quote":     {`"a"b"`, `"a"b"`},
		"an escape that ends":              {`"a\"`, `"a\"`},
		"a quote alone":                    {`"`, `"`},
		"a sender that encodes nothing":    {"a b€", "a b€"},
		"percent signs of such a sender":   {"50% off, 100%", "50% off, 100%"},
		"digits that are none, and others": {"%zz%4G%%41", "%zz%4G%A"},
	} {
		t.Run(name, func(t *testing.T) {
			e := taken(t, binary("Ce-Id", c.sent, "Ce-Subject", c.sent, "Ce-Stage", c.sent), "{}")
			assert.Equal(t, []any{c.want, c.want, c.want}, []any{e.ID(), e.Subject(), e.Extensions()["stage"]})
		})
	}
}

func TestAnEventIsReadWithAllThatItHas(t *testing.T) {
	const time = "2026-11-25T12:00:00.5Z"
	for name, e := range map[string]event.Event{
		"binary": taken(t, binary("Ce-Time", time, "Ce-Dataschema", "https://example.com/s", "Ce-Subject", "o", "Ce-Stage", "x",
			"Content-Type", "application/json; charset=utf-8"), `{"a": 1}`),
		"structured": taken(t, structured("; charset=UTF-8"), envelope(`,"time":"`+time+`","dataschema":"https://example.com/s","subject":"o","stage":"x",
			"datacontenttype":"application/json; charset=utf-8", "data" : {"a": 1} , "none":null`)),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, []string{"1.0", "1", "/shop", "t", "o", "https://example.com/s", "application/json; charset=utf-8", `{"a": 1}`},
				[]string{e.SpecVersion(), e.ID(), e.Source(), e.Type(), e.Subject(), e.DataSchema(), e.DataContentType(), string(e.Data())})
			assert.Equal(t, time, e.Time().Format("2006-01-02T15:04:05.999999999Z07:00"))
			assert.Equal(t, map[string]any{"stage": "x"}, e.Extensions())
		})
	}
	e := taken(t, structured(), envelope(`,"n":-5,"yes":true,"no":false`))
	assert.Equal(t, map[string]any{"n": int32(-5), "yes": true, "no": false}, e.Extensions())
	assert.Nil(t, e.Data())
	e = taken(t, binary("Ce-Specversion", "0.3", "Ce-Schemaurl", "/s"), "{}")
	assert.Equal(t, []string{"0.3", "1", "/s"}, []string{e.SpecVersion(), e.ID(), e.DataSchema()})
	e = taken(t, structured(), strings.Replace(envelope(""), "1.0", "0.3", 1))
	assert.Equal(t, []string{"0.3", "1"}, []string{e.SpecVersion(), e.ID()})
}

func TestDataInJSONIsTakenWhereverAndHoweverItStands(t *testing.T) {
	text := base64.StdEncoding.EncodeToString([]byte(`{"a":"ö?>"}`))
	for name, c := range map[string]struct{ members, want string }{
		"base64":                       {`"data_base64":"` + text + `"`, `{"a":"ö?>"}`},
		"base64 behind white space":    {`"data_base64": ` + "\n\t" + `"` + text + `" `, `{"a":"ö?>"}`},
		"base64 with escapes":          {`"data_base64":"` + strings.NewReplacer("/", `\/`, "e", `\u0065`).Replace(text) + `"`, `{"a":"ö?>"}`},
		"base64 of nothing":            {`"data_base64":""`, ""},
		"base64 of a text":             {`"datacontenttype":"text/plain","data_base64":"YQ=="`, "a"},
		"a value behind white space":   {`"data": ` + "\n" + ` {"a": 1 } `, `{"a": 1 }`},
		"a string":                     {`"data":"a\u0062"`, `"a\u0062"`},
		"null":                         {`"data":null`, "null"},
		"the string of a text":         {`"datacontenttype":"text/plain","data": "a\u0062"`, "ab"},
		"a value of another JSON type": {`"datacontenttype":"application/vnd.x+json; v=1","data": {"a":1}`, `{"a":1}`},
	} {
		for where, document := range map[string]string{
			"first": `{` + c.members + `,"specversion":"1.0","id":"1","source":"/shop","type":"t"}`,
			"last":  `{"specversion":"1.0","id":"1","source":"/shop","type":"t",` + c.members + `}`,
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				assert.Equal(t, c.want, string(taken(t, structured(), document).Data()))
			})
		}
	}
}

func TestNonEventsAreRefusedWithTheReason(t *testing.T) {
	type request struct {
		header http.Header
		body   string
	}
	twice := func(name, value string) http.Header {
		header := binary()
		header.Add(name, value)
		return header
	}
	inJSON := func(more string) request { return request{structured(), envelope(more)} }
	for name, c := range map[string]struct {
		request
		status int
		says   string
	}{
		"plain JSON":                  {request{http.Header{"Content-Type": {"application/json"}}, "{}"}, 415, "ce-specversion"},
		"nothing":                     {request{http.Header{}, ""}, 415, "ce-specversion"},
		"another version":             {request{binary("Ce-Specversion", "9.9"), ""}, 415, "ce-specversion"},
		"a batch":                     {request{http.Header{"Content-Type": {"application/cloudevents-batch+json; charset=utf-8"}}, "[]"}, 415, "batches"},
		"a batch beside headers":      {request{binary("Content-Type", "application/CloudEvents-Batch+json;;"), "[]"}, 415, "batches"},
		"another format":              {request{binary("Content-Type", "application/cloudevents+xml"), "<event/>"}, 415, "binary mode"},
		"JSON in another charset":     {request{structured("; charset=latin1"), envelope("")}, 415, "binary mode"},
		"compressed":                  {request{binary("Content-Encoding", "gzip"), "{}"}, 415, "Content-Encoding"},
		"no id":                       {request{binary("Ce-Id", ""), ""}, 400, "id"},
		"no source and no type":       {request{binary("Ce-Source", "", "Ce-Type", ""), ""}, 400, "source"},
		"a blank id":                  {request{binary("Ce-Id", "%20"), ""}, 400, "id"},
		"a header without a name":     {request{binary("Ce-", "x"), ""}, 400, "names no attribute"},
		"that beside JSON":            {request{http.Header{"Content-Type": structured()["Content-Type"], "Ce-": {"x"}}, envelope("")}, 400, "names no attribute"},
		"a header twice":              {request{twice("Ce-Id", "2"), ""}, 400, "ce-id once"},
		"the same header twice":       {request{twice("Ce-Id", "1"), ""}, 400, "ce-id once"},
		"an extension twice":          {request{twice("Ce-Stage", "2"), ""}, 200, ""},
		"a header in two cases":       {request{http.Header{"ce-id": {"1"}, "Ce-Id": {"1"}}, ""}, 400, "ce-id once"},
		"two content types":           {request{twice("Content-Type", "application/json"), "{}"}, 400, "one Content-Type"},
		"a bad name":                  {request{binary("Ce-Bad_name", "x"), ""}, 400, "a to z"},
		"data as a header":            {request{binary("Ce-Data", "x"), ""}, 400, "a to z"},
		"datacontenttype as a header": {request{binary("Ce-Datacontenttype", "text/plain"), ""}, 400, "Content-Type"},
		"an overlong encoding":        {request{binary("Ce-Id", "%C0%A0"), ""}, 400, "id: is not UTF-8"},
		"bytes that are no text":      {request{binary("Ce-Stage", "\xff"), ""}, 400, "stage: is not UTF-8"},
		"a control character":         {request{binary("Ce-Subject", "a%00"), ""}, 400, "subject: holds U+0000"},
		"a noncharacter":              {request{binary("Ce-Id", "%EF%BF%BF"), ""}, 400, "id: holds U+FFFF"},
		"a broken time":               {request{binary("Ce-Time", "noon"), ""}, 400, "time"},
		"a source that is none":       {request{binary("Ce-Source", "%25zz"), ""}, 400, "source"},
		"a broken content type":       {request{binary("Content-Type", "text/plain;;"), ""}, 400, "datacontenttype"},
		"not JSON":                    {request{structured(), `{"specversion":"1.0"`}, 400, "not JSON"},
		"no body":                     {request{structured(), ""}, 400, "not JSON"},
		"two documents":               {request{structured(), envelope("") + envelope("")}, 400, "not JSON"},
		"a list":                      {request{structured(), "[" + envelope("") + "]"}, 400, "not a JSON object"},
		"null for an event":           {request{structured(), "null"}, 400, "not a JSON object"},
		"not UTF-8":                   {request{structured(), envelope(",\"subject\":\"\xff\"")}, 400, "not UTF-8"},
		"no version":                  {request{structured(), "{}"}, 400, "specversion"},
		"another version in JSON":     {request{structured(), strings.Replace(envelope(""), "1.0", "2.0", 1)}, 400, "specversion"},
		"a member twice":              {inJSON(`,"id":"1"`), 400, `"id" appears twice`},
		"a member in another case":    {inJSON(`,"Stage":"x"`), 400, "a to z"},
		"a name with an underscore":   {inJSON(`,"my_stage":"x"`), 400, "a to z"},
		"an id that is a number":      {request{structured(), strings.Replace(envelope(""), `"id":"1"`, `"id":1`, 1)}, 400, "id: must be a string"},
		"an id that is null":          {request{structured(), strings.Replace(envelope(""), `"id":"1"`, `"id":null`, 1)}, 400, "id"},
		"half a surrogate pair":       {inJSON(`,"subject":"\ud800"`), 400, "subject: holds half"},
		"a control character in JSON": {inJSON(`,"subject":"\u0000"`), 400, "subject: holds U+0000"},
		"a fraction":                  {inJSON(`,"n":1.5`), 400, "n: must be"},
		"an exponent":                 {inJSON(`,"n":1e2`), 400, "n: must be"},
		"beyond 32 bits":              {inJSON(`,"n":2147483648`), 400, "n: must be"},
		"an extension that is a list": {inJSON(`,"n":[]`), 400, "n: must be"},
		"data of both kinds":          {inJSON(`,"data":1,"data_base64":""`), 400, "data or data_base64"},
		"base64 that is none":         {inJSON(`,"data_base64":"!"`), 400, "is not base64"},
		"base64 that is a digit":      {request{structured(), `{"data_base64":1,` + envelope("")[1:]}, 400, "data_base64: must be a string"},
		"base64 that is null":         {inJSON(`,"data_base64":null`), 400, "data_base64: must be a string"},
		"an object as a text":         {inJSON(`,"datacontenttype":"text/plain","data":{}`), 400, "data: must be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "an extension twice" { // only the first of the two
				taken(t, c.header, c.body)
				c.header.Add("Ce-Stage", "3")
				c.status, c.says = 400, "ce-stage once"
			}
			_, _, err := read(t, http.MethodPost, c.header, strings.NewReader(c.body))
			problem := refused(t, err)
			assert.Equal(t, c.status, problem.Status, problem.Detail)
			assert.Contains(t, problem.Detail, c.says)
			assert.NotContains(t, problem.Detail, "\n")
		})
	}
}

func TestEventsArePosted(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions, "EVENT"} {
		_, w, err := read(t, method, binary(), nil)
		assert.Equal(t, http.StatusMethodNotAllowed, refused(t, err).Status, method)
		assert.Equal(t, http.MethodPost, w.Header().Get("Allow"))
	}
}

// endless is a body without an end that counts how much is read.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

func TestABodyIsReadUpToItsBound(t *testing.T) {
	for name, header := range map[string]http.Header{"binary": binary(), "structured": structured()} {
		t.Run(name, func(t *testing.T) {
			document := envelope("")
			fitting := document + strings.Repeat(" ", most-len(document))
			taken(t, header, fitting)
			for kind, body := range map[string]io.Reader{"of known length": strings.NewReader(fitting + " "), "endless": &endless{}} {
				_, _, err := read(t, http.MethodPost, header, body)
				problem := refused(t, err)
				assert.Equal(t, http.StatusRequestEntityTooLarge, problem.Status, kind)
				assert.Contains(t, problem.Detail, "1000 bytes", kind)
				if body, ok := body.(*endless); ok {
					assert.Less(t, body.read, 10*most)
				}
			}
		})
	}
	_, _, err := read(t, http.MethodPost, binary(), io.MultiReader(strings.NewReader("{"), failing{}))
	problem := refused(t, err)
	assert.Equal(t, http.StatusBadRequest, problem.Status)
	assert.NotContains(t, problem.Detail, "10.0.0.7")
}

// failing is a lost connection.
type failing struct{}

func (failing) Read([]byte) (int, error) {
	return 0, errors.New("read tcp 10.0.0.7:8080->10.0.0.8:5555: connection reset by peer")
}

func TestAnEventWithoutATraceBelongsToThatOfItsRequest(t *testing.T) {
	const own, other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, c := range map[string]struct {
		header                  http.Header
		traceparent, tracestate any
	}{
		"none":                {binary(), nil, nil},
		"of the request":      {binary("Traceparent", own, "Tracestate", "a=1"), own, "a=1"},
		"its own":             {binary("Traceparent", own, "Tracestate", "a=1", "Ce-Traceparent", other), other, nil},
		"one that is no text": {binary("Traceparent", "\xff"), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			extensions := taken(t, c.header, "{}").Extensions()
			assert.Equal(t, c.traceparent, extensions["traceparent"])
			assert.Equal(t, c.tracestate, extensions["tracestate"])
		})
	}
}

func TestAnEventThatBreaksTheRulesIsNotSent(t *testing.T) {
	_, err := httpbinding.NewRequest(t.Context(), "http://function/", event.New())
	assert.ErrorContains(t, err, "id")
	w := httptest.NewRecorder()
	assert.Error(t, httpbinding.WriteResponse(w, http.StatusOK, event.New()))
	assert.Empty(t, w.Header())
}

// An attribute arrives unchanged in both modes, or both refuse it.
func FuzzAttributes(f *testing.F) {
	for _, text := range []string{"a b", "50%", "%41", `"`, `"\"`, "€", "\x00", "\xff", "\u0085", "%C0%A0", " "} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, id, extension string) {
		e := event.New()
		e.SetID(id)
		e.SetSource("/shop")
		e.SetType("t")
		e.SetExtension("stage", extension)
		r, err := httpbinding.NewRequest(t.Context(), "http://function/", e)
		if err != nil {
			return
		}
		inBinary, err := httpbinding.Read(httptest.NewRecorder(), r, most)
		asJSON, _ := json.Marshal(e) // encoding a string cannot fail
		if err != nil {
			return
		}
		assert.Equal(t, e, inBinary)
		if len(asJSON) <= most {
			assert.Equal(t, e, taken(t, structured(), string(asJSON)))
		}
	})
}

// Any structured request is either an event or the sender's mistake.
func FuzzStructured(f *testing.F) {
	for _, more := range []string{"", `,"data_base64":1`, `,"data_base64": "YQ=="`, `,"data":{"a":[1]}`, `,"time":"2026-11-25T12:00:00Z"`, `,"n":5`} {
		f.Add([]byte(envelope(more)))
		f.Add([]byte("{" + strings.TrimPrefix(more, ",")))
	}
	f.Add([]byte(`{"specversion":"0.3","data_base64":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, _, err := read(t, http.MethodPost, structured(), bytes.NewReader(body))
		if err != nil {
			assert.Less(t, refused(t, err).Status, 500)
			return
		}
		assert.NoError(t, e.Validate())
	})
}
