package derpd_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	fileLinesMax   = 600 // a longer file holds more than one idea
	lineColumnsMax = 100 // a tab counts as one, as common linters have it
)

// mayImport says which rooms of this module a room's code may import, besides its own. The
// longest prefix of a package's path counts. Tests may import what they like.
var mayImport = map[string][]string{
	"internal":       {},
	"netpoll":        {},
	"tlsengine":      {"netpoll", "internal"},
	"relay/derp":     {"netpoll"},
	"relay":          {"tlsengine", "netpoll", "internal"},
	"relay/httpd":    {"tlsengine", "netpoll", "internal", "stun"}, // it prints the counters of both servers
	"stun":           {"netpoll"},
	"loadgen":        {"tlsengine", "relay/derp", "relay/websock", "netpoll", "stun"}, // stun for its codec
	"bench":          {"loadgen", "tlsengine", "relay/derp", "netpoll"},
	"cmd":            {"relay", "stun", "loadgen", "bench", "tlsengine", "netpoll", "internal"},
	"interop":        {}, // modules of their own, which see the relay from outside
	"bench/peers":    {},
	"bench/baseline": {"relay/derp", "loadgen", "stun"}, // stun for its codec, which is no part of what is measured
	".ci":            {},
}

// forbidden are words that mark unfinished work or point outside the project. They are put
// together here, so that this file does not hold them.
var forbidden = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b|\.\./` + `shared|/wo` + `rk/`)

// files returns the paths of all files that belong to the project, with forward slashes.
func files(t *testing.T, keep func(path string) bool) []string {
	t.Helper()
	var kept []string
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		if d.IsDir() {
			if p != "." && p != ".ci" && (strings.HasPrefix(d.Name(), ".") || p == "bin") {
				return filepath.SkipDir // git's own, and what is built
			}
			return nil
		}
		if keep(p) {
			kept = append(kept, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) == 0 {
		t.Fatal("no files: does the test run in the module's folder?")
	}
	return kept
}

func isGo(p string) bool     { return path.Ext(p) == ".go" }
func isTest(p string) bool   { return strings.HasSuffix(p, "_test.go") }
func isSource(p string) bool { return isGo(p) && !isTest(p) }

func isText(p string) bool {
	return slices.Contains([]string{".go", ".md", ".mod", ".sh", ".yml", ".yaml", ".service"},
		path.Ext(p)) || path.Base(p) == "Makefile" || strings.HasPrefix(p, ".ci/")
}

func read(t *testing.T, p string) string {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTidyFilesAreShort(t *testing.T) {
	for _, p := range files(t, isGo) {
		if n := strings.Count(read(t, p), "\n"); n > fileLinesMax {
			t.Errorf("%s has %d lines, more than %d: split it by idea", p, n, fileLinesMax)
		}
	}
}

func TestTidyLinesAreShort(t *testing.T) {
	for _, p := range files(t, isSource) {
		number := 0
		for line := range strings.Lines(read(t, p)) {
			number++
			line = strings.TrimSuffix(line, "\n")
			columns := utf8.RuneCountInString(line)
			if columns > lineColumnsMax && !isTableRow(line) && !strings.Contains(line, "://") {
				t.Errorf("%s:%d: %d columns, more than %d", p, number, columns, lineColumnsMax)
			}
		}
	}
}

// isTableRow reports whether a line is one row of a table that gofmt has aligned.
func isTableRow(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "{") && strings.HasSuffix(line, "},")
}

func TestTidyPackagesAreDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, p := range files(t, isSource) {
		dir := path.Dir(p)
		if path.Base(p) == "doc.go" {
			documented[dir] = true
			file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			name, text := file.Name.Name, file.Doc.Text()
			if text == "" || name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
				t.Errorf("%s does not begin with a sentence about its package", p)
			}
		} else if !documented[dir] {
			documented[dir] = false
		}
	}
	for dir, has := range documented {
		if !has {
			t.Errorf("%s has no doc.go", dir)
		}
	}
}

var (
	listedLine = regexp.MustCompile(`(?m)^//\t(\S+)  .*$`)
	listedFile = regexp.MustCompile(`\b\w+\.go\b`)
)

// TestTidyListsAreWhole: a package whose documentation lists files, or folders beneath it, lists
// all of them, and no other.
func TestTidyListsAreWhole(t *testing.T) {
	inFolder, beneath := make(map[string][]string), make(map[string][]string)
	var docs []string
	for _, p := range files(t, isSource) {
		dir := path.Dir(p)
		if path.Base(p) != "doc.go" {
			inFolder[dir] = append(inFolder[dir], path.Base(p))
			continue
		}
		docs = append(docs, p)
		beneath[path.Dir(dir)] = append(beneath[path.Dir(dir)], path.Base(dir))
	}
	for _, p := range docs {
		dir := path.Dir(p)
		var listedFiles, listedFolders []string
		for _, line := range listedLine.FindAllStringSubmatch(read(t, p), -1) {
			listedFiles = append(listedFiles, listedFile.FindAllString(line[0], -1)...)
			folder := strings.TrimPrefix(line[1], dir+"/")
			if info, err := os.Stat(path.Join(dir, folder)); err == nil && info.IsDir() {
				listedFolders = append(listedFolders, folder)
			}
		}
		for _, list := range []struct{ listed, there []string }{
			{listedFiles, inFolder[dir]}, {listedFolders, beneath[dir]}} {
			if len(list.listed) == 0 {
				continue
			}
			for _, name := range list.there {
				if !slices.Contains(list.listed, name) {
					t.Errorf("%s does not list %s", p, name)
				}
			}
			for _, name := range list.listed {
				if !slices.Contains(list.there, name) {
					t.Errorf("%s lists %s, which is not there", p, name)
				}
			}
		}
	}
}

func TestTidyNothingUnfinished(t *testing.T) {
	for _, p := range files(t, isText) {
		number := 0
		for line := range strings.Lines(read(t, p)) {
			number++
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s:%d: %q has no place here", p, number, found)
			}
		}
	}
}

func TestTidyImportsPointOneWay(t *testing.T) {
	for _, p := range files(t, isSource) {
		if strings.HasPrefix(p, "interop/") {
			continue // a module of its own: its imports of itself are free
		}
		room := roomOf(path.Dir(p))
		if room == "" {
			t.Errorf("%s is in no room that mayImport knows", p)
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			target, ours := strings.CutPrefix(imported, "derpd/")
			if ours && !allowed(room, target) {
				t.Errorf("%s: %s may not import %s", p, room, target)
			}
		}
	}
}

// roomOf returns the longest key of mayImport that is a package's path or a folder above it.
func roomOf(pkg string) string {
	for ; pkg != "."; pkg = path.Dir(pkg) {
		if _, ok := mayImport[pkg]; ok {
			return pkg
		}
	}
	return ""
}

func allowed(room, target string) bool {
	top, _, _ := strings.Cut(room, "/")
	if room != "relay/derp" && within(target, top) {
		return true // its own folder; the compiler refuses circles
	}
	return within(target, room) || slices.ContainsFunc(mayImport[room], func(dir string) bool {
		return within(target, dir)
	})
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
