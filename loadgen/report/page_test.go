package report

import (
	"bytes"
	"strings"
	"testing"

	"derpd/loadgen/plotting"
)

func TestPage(t *testing.T) {
	p := Page{Title: "Of <others>", Verdict: "fine", Class: "ok", Sections: []Section{
		{Title: "hidden", Lines: []string{"first"}},
		{Title: "Second", Tables: []Table{{Head: []string{"a", "b"}, Rows: [][]string{{"x", "7"}}}},
			Charts: []plotting.Chart{{Title: "drawn", Series: []plotting.Series{{Name: "s",
				Points: []plotting.Point{{X: 1, Y: 1}, {X: 2, Y: 3}}}}}}},
	}}
	var page, text bytes.Buffer
	if err := p.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if err := p.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h1>Of &lt;others&gt;</h1>", `class="verdict ok">fine`,
		"<h2>Second</h2>", `<td class="figure ">7</td>`, "<svg"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in\n%.3000s", want, &page)
		}
	}
	if got := strings.Join(strings.Fields(text.String()), " "); got != "hidden first Second a b x 7 fine" {
		t.Errorf("the text is %q", got)
	}
}
