package browser

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

//go:embed page
var pageFiles embed.FS

// Serve serves the page, with the NaCl script at naclPath, and returns its address.
func Serve(t testing.TB, naclPath string) (url string) {
	t.Helper()
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.HandleFunc("/nacl.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, naclPath)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// Page is a tab.
type Page struct {
	tools   *devTools
	target  string
	session string
}

// Open opens a tab and waits until its module derp is loaded.
func (b *Browser) Open(ctx context.Context, url string) (*Page, error) {
	p := &Page{tools: b.tools}
	var created struct{ TargetID string }
	err := p.tools.call(ctx, "", "Target.createTarget",
		map[string]any{"url": "about:blank"}, &created)
	if err != nil {
		return nil, err
	}
	p.target = created.TargetID
	var attached struct{ SessionID string }
	err = p.tools.call(ctx, "", "Target.attachToTarget",
		map[string]any{"targetId": p.target, "flatten": true}, &attached)
	if err != nil {
		return nil, err
	}
	p.session = attached.SessionID
	for _, events := range []string{"Runtime.enable", "Log.enable"} {
		if err := p.tools.call(ctx, p.session, events, nil, nil); err != nil {
			return nil, err
		}
	}
	// The answer to Page.navigate comes when the new document has taken the old one's place.
	var gone struct{ ErrorText string }
	err = p.tools.call(ctx, p.session, "Page.navigate", map[string]any{"url": url}, &gone)
	if err != nil {
		return nil, err
	}
	if gone.ErrorText != "" {
		return nil, fmt.Errorf("%s: %s", url, gone.ErrorText)
	}
	const loaded = `new Promise(done => document.readyState == "complete" ? done() :
		addEventListener("load", done)).then(() => typeof derp)`
	var found string
	if err := p.evaluate(ctx, loaded, &found); err != nil {
		return nil, err
	}
	if found != "object" {
		return nil, fmt.Errorf("%s: its scripts did not load; the log tells why", url)
	}
	return p, nil
}

// Close closes the tab, as a user would.
func (p *Page) Close(ctx context.Context) error {
	return p.tools.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": p.target}, nil)
}

// Call calls an exported function of derp.js and stores what it returns, when it is not a
// promise any more, in result, if that is not nil.
func (p *Page) Call(ctx context.Context, result any, function string, args ...any) error {
	var list []string
	for _, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		list = append(list, string(b))
	}
	expression := fmt.Sprintf("derp.%s(%s)", function, strings.Join(list, ", "))
	if err := p.evaluate(ctx, expression, result); err != nil {
		return fmt.Errorf("%s: %w", function, err)
	}
	return nil
}

func (p *Page) evaluate(ctx context.Context, expression string, result any) error {
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := p.tools.call(ctx, p.session, "Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true,
	}, &out)
	if err != nil {
		return err
	}
	if e := out.ExceptionDetails; e != nil {
		return fmt.Errorf("%s %s", e.Text, e.Exception.Description)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(out.Result.Value, result)
}
