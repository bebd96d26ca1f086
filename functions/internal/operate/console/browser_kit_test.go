package console_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// chromium is the browser, named by CHROMIUM. Without it the test is skipped, even if the machine has one: in a browser the
// package takes longer than the time-out of go test allows on a busy machine.
func chromium(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CHROMIUM")
	if path == "" {
		t.Skip("runs in a browser: use .ci/run browser, or name a Chromium by CHROMIUM")
	}
	return path
}

// folder is for what the tests build.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "orders-console-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// built builds the harness once: each link takes several seconds of processor time.
var built = sync.OnceValues(func() (program string, err error) {
	program = filepath.Join(folder, "harness")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", program, "example.com/orders/functions/harness").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the harness: %w: %s", err, out)
	}
	return program, nil
})

// harness starts a harness of its own with the arguments and returns its URL. It ends with the test.
func harness(t *testing.T, args ...string) string {
	t.Helper()
	return startHarness(t, porttest.Address(t), nil, args...).url
}

// running is a harness as a process of its own.
type running struct {
	url  string
	stop func()
}

// startHarness starts a harness at an address, with variables and arguments. It ends with the test, if not before.
func startHarness(t *testing.T, address string, environ []string, args ...string) running {
	t.Helper()
	program, err := built()
	require.NoError(t, err)
	var output bytes.Buffer
	command := exec.CommandContext(context.Background(), program, append([]string{"up", "--addr", address, "--ephemeral", "--audit-interval", "1s"}, args...)...)
	for _, variable := range os.Environ() {
		// Servers of its own, whatever the other tests work with: what is tested is the page.
		if !strings.HasPrefix(variable, "MYSQL_") && !strings.HasPrefix(variable, "KAFKA_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, environ...)
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	var failed error
	go func() {
		failed = command.Wait()
		close(ended)
	}()
	stop := sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		assert.NoError(t, failed)
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the log of the harness:\n%s", output.String())
		}
	})
	url := "http://" + address
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !healthy(t, url) {
		select {
		case <-tick.C:
		case <-ended:
			require.FailNow(t, "the harness has ended before it was ready", output.String())
		}
	}
	return running{url, stop}
}

func healthy(t *testing.T, url string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/health", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { assert.NoError(t, response.Body.Close()) }()
	return response.StatusCode == http.StatusOK
}

// patience is how long something may take to show. It is long since tests run beside others.
const patience = time.Minute

// browser is a page in a browser.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's handle of a page is a context
	url string
	// expected has parts of the browser's complaints that the test provokes.
	expected []string
}

// open opens a browser. At the end of the test it must have no other complaints.
func open(t *testing.T, url string, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.Flag("disable-dev-shm-usage", true))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // for root Chromium starts only without a sandbox
	}
	options = append(options, more...)
	ctx, end := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(options...))
	b := &browser{t: t, ctx: ctx, url: url}
	messages := chromedp.Console(ctx)
	b.do(chromedp.EmulateViewport(looks[0].width, looks[0].height))
	ended := make(chan []string)
	go func() {
		var complaints []string
		for m, err := range messages {
			if err != nil {
				break // the browser was closed
			}
			if slices.Contains([]chromedp.ConsoleType{"error", "warning", "assert", chromedp.ConsoleException}, m.Type) {
				complaints = append(complaints, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
			}
		}
		ended <- complaints
	}()
	t.Cleanup(func() {
		end()
		complaints := slices.DeleteFunc(<-ended, func(c string) bool {
			return slices.ContainsFunc(b.expected, func(part string) bool { return strings.Contains(c, part) })
		})
		assert.Empty(t, complaints, "the browser's console has errors")
	})
	return b
}

// do runs actions, within the patience of the test.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := chromedp.Steps(actions...)(ctx, t)
		return err
	})))
}

// eval evaluates JavaScript, and awaits a promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression)
	return value
}

// visit loads a path.
func (b *browser) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// await waits until a JavaScript expression is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !eval[bool](b, "Boolean("+expression+")") {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(b.t, "await "+expression, "the page is:\n%s", eval[string](b, "document.body.innerText"))
		}
	}
}

// awaitText waits until an element shows a text.
func (b *browser) awaitText(selector, text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.textContent.includes(%q))", selector, text))
}

// click clicks the button, the link or the summary with a text, or a label in a dialog.
func (b *browser) click(text string) {
	b.t.Helper()
	found := fmt.Sprintf(`[...document.querySelectorAll('dialog[open] button, dialog[open] input, dialog[open] summary, dialog[open] label')].concat(document.querySelector('dialog[open]') ? [] : [...document.querySelectorAll('button, a, summary, input[type=checkbox]')])
		.find((e) => (e.textContent.trim() === %[1]q || e.getAttribute('aria-label') === %[1]q) && !e.disabled && e.checkVisibility())`, text)
	b.await(found)
	eval[any](b, "void "+found+".click()")
}

// fill replaces the contents of a field by typing.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	field := chromedp.CSS(selector)
	b.do(chromedp.WaitVisible(field), chromedp.Focus(field))
	eval[any](b, "void document.activeElement.select()")
	b.do(chromedp.KeyEvent(text))
}

// appearance is a screen size and a colour scheme.
type appearance struct {
	name          string
	width, height int64
	scheme        string
	phone         bool
}

// looks are the appearances in which each page is checked.
var looks = []appearance{
	{"light", 1440, 900, "light", false},
	{"dark", 1440, 900, "dark", false},
	{"phone", 390, 844, "light", true},
}

// look checks that the page is not wider than the screen in any appearance, and has no violation that axe finds, if AXE names
// the script. It stores screenshots in the folder SCREENSHOTS, if set.
func (b *browser) look(name string) {
	b.t.Helper()
	for _, as := range looks {
		b.show(as)
		wide := eval[int64](b, "new Promise((done) => setTimeout(() => done(document.documentElement.scrollWidth), 100))")
		assert.LessOrEqual(b.t, wide, as.width, "%s is wider than the screen on %s", name, as.name)
		if script := os.Getenv("AXE"); script != "" {
			assert.Empty(b.t, b.violations(script), "axe on %s, %s", name, as.name)
		}
		if folder := os.Getenv("SCREENSHOTS"); folder != "" {
			quality := int64(85)
			picture, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
			require.NoError(b.t, err)
			require.NoError(b.t, os.MkdirAll(folder, 0o755))
			require.NoError(b.t, os.WriteFile(filepath.Join(folder, name+"-"+as.name+".webp"), picture.Data, 0o644))
		}
	}
	b.show(looks[0])
}

// violations returns what axe finds on the page, by all of its rules.
func (b *browser) violations(script string) []string {
	b.t.Helper()
	if eval[bool](b, "window.axe === undefined") {
		text, err := os.ReadFile(script)
		require.NoError(b.t, err)
		eval[any](b, string(text)+";void 0")
	}
	return eval[[]string](b, `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap((v) =>
		v.nodes.map((n) => v.id + ': ' + n.target.join(' ') + ': ' + n.failureSummary)))`)
}

// show changes the screen.
func (b *browser) show(as appearance) {
	b.t.Helper()
	var options []chromedp.EmulateViewportOption
	if as.phone {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulatePortrait)
	}
	b.do(chromedp.EmulateViewport(as.width, as.height, options...), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: as.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}
