package derpd_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const parityFile = "docs/derper-parity.md"

// parityRow is one row of a table: what derper has, what derpd does, and the tests, as
// "folder: TestA, TestB; folder: TestC".
type parityRow struct {
	line                     int
	section                  string
	name, derper, ours, test string
}

func (r parityRow) offered() bool { return !strings.HasPrefix(r.ours, "not offered: ") }

// parityRows reads all tables of the file.
func parityRows(t *testing.T) (rows []parityRow) {
	t.Helper()
	section, number := "", 0
	for line := range strings.Lines(read(t, parityFile)) {
		number++
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| ---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%s:%d: %d cells, want 4", parityFile, number, len(cells))
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[1] == "derper" {
			continue // the head
		}
		rows = append(rows, parityRow{number, section, strings.Trim(cells[0], "`"), cells[1],
			cells[2], cells[3]})
	}
	return rows
}

// parityTests reads the last cell: the tests by folder.
func parityTests(cell string) map[string][]string {
	all := map[string][]string{}
	for part := range strings.SplitSeq(cell, ";") {
		if folder, names, ok := strings.Cut(part, ":"); ok {
			for name := range strings.SplitSeq(names, ",") {
				folder := strings.TrimSpace(folder)
				all[folder] = append(all[folder], strings.TrimSpace(name))
			}
		}
	}
	return all
}

// TestParityRows: each row says in how far derpd is like derper, and which tests hold it.
func TestParityRows(t *testing.T) {
	verdict := regexp.MustCompile(`^(same( \(.+\))?|differs: .+|not offered: .+)$`)
	sections := map[string]int{}
	seen := map[string]bool{}
	found := map[string]map[string]bool{} // test functions by folder
	for _, r := range parityRows(t) {
		sections[r.section]++
		if key := r.section + "\n" + r.name; seen[key] {
			t.Errorf("%s:%d: %s stands there twice", parityFile, r.line, r.name)
		} else {
			seen[key] = true
		}
		if r.name == "" || r.derper == "" || !verdict.MatchString(r.ours) {
			t.Errorf("%s:%d: %q says neither same, differs: why, nor not offered: why", parityFile,
				r.line, r.ours)
		}
		tests := parityTests(r.test)
		if len(tests) == 0 && r.offered() {
			t.Errorf("%s:%d: %s has no test", parityFile, r.line, r.name)
		}
		for folder, names := range tests {
			if found[folder] == nil {
				found[folder] = testFunctions(t, folder)
			}
			for _, name := range names {
				if !found[folder][name] {
					t.Errorf("%s:%d: %s: there is no %s in %s", parityFile, r.line, r.name, name,
						folder)
				}
			}
		}
	}
	for _, section := range []string{"Flags", "HTTP", "Frames and rules", "Timers", "Metrics"} {
		if sections[section] == 0 {
			t.Errorf("%s has no rows about %s", parityFile, section)
		}
	}
}

// testFunctions returns the names of the tests and fuzz targets in a folder.
func testFunctions(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, file := range parseFolder(t, folder, isTest) {
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && regexp.MustCompile(`^(Test|Fuzz)[A-Z]`).MatchString(fn.Name.Name) {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

func parseFolder(t *testing.T, folder string, keep func(string) bool) (files []*ast.File) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatalf("%s names a folder that is not there: %v", parityFile, err)
	}
	for _, e := range entries {
		p := filepath.Join(folder, e.Name())
		if !isGo(p) || !keep(p) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// TestParityFlags: the table has derper's flags, no more and no less; those that are not
// offered are those that the program refuses, and it declares all others.
func TestParityFlags(t *testing.T) {
	derpers := derpersFlags(t)
	declared, refused := programFlags(t)
	listed := map[string]bool{}
	for _, r := range parityRows(t) {
		if r.section != "Flags" {
			continue
		}
		name := strings.TrimPrefix(r.name, "-")
		listed[name] = true
		switch {
		case !derpers[name]:
			t.Errorf("derper has no -%s", name)
		case r.offered() && !declared[name]:
			t.Errorf("-%s is said to be offered, but the program does not declare it", name)
		case !r.offered() && !refused[name]:
			t.Errorf("-%s is said not to be offered, but the program does not refuse it", name)
		}
	}
	for name := range derpers {
		if !listed[name] {
			t.Errorf("%s has no row for -%s", parityFile, name)
		}
	}
	if len(declared) < 30 || len(refused) == 0 {
		t.Errorf("cmd/derpd was misread: it declares %v and refuses %v",
			slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(refused)))
	}
}

// derpersFlags reads the flags of derper from the test that gives all of them to derpd.
func derpersFlags(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, f := range parseFolder(t, "cmd/derpd", isTest) {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if ok && v.Names[0].Name == "derperFlags" {
				for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
					names[text(e.(*ast.KeyValueExpr).Key)] = true
				}
			}
			return true
		})
	}
	if len(names) < 30 {
		t.Fatalf("cmd/derpd lists only %d flags of derper", len(names))
	}
	return names
}

// programFlags reads from cmd/derpd the flags that it declares, and those that it declares to
// refuse them: the keys of the table in refuseLater.
func programFlags(t *testing.T) (declared, refused map[string]bool) {
	t.Helper()
	declared, refused = map[string]bool{}, map[string]bool{}
	for _, f := range parseFolder(t, "cmd/derpd", isSource) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					sel, ok := n.Fun.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					fs, ok := sel.X.(*ast.Ident)
					if ok && fs.Name == "fs" && strings.HasSuffix(sel.Sel.Name, "Var") &&
						len(n.Args) > 1 && text(n.Args[1]) != "" {
						declared[text(n.Args[1])] = true
					}
				case *ast.KeyValueExpr:
					if fn.Name.Name == "refuseLater" && text(n.Key) != "" {
						refused[text(n.Key)] = true
					}
				}
				return true
			})
		}
	}
	return declared, refused
}

// text is the value of a string literal; empty if e is none.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// TestParityNames: metrics and pages that are offered are named in the code, those that are
// not are not.
func TestParityNames(t *testing.T) {
	named := map[string]bool{}
	for _, folder := range []string{"relay/httpd", "relay/upgrade"} {
		for _, f := range parseFolder(t, folder, isSource) {
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok && text(e) != "" {
					named[text(e)] = true
				}
				return true
			})
		}
	}
	// What client_golang names, or code that makes names of the runtime's.
	foreign := regexp.MustCompile(`^(go_goroutines|process_resident_memory_bytes|go_runtime_.*)$`)
	for _, r := range parityRows(t) {
		switch {
		case r.section == "Metrics" && !foreign.MatchString(r.name):
			there := named[r.name] || named[strings.TrimPrefix(r.name, "derp_")]
			if there != r.offered() {
				t.Errorf("%s:%d: %s is in the code: %v", parityFile, r.line, r.name, there)
			}
		case r.section == "HTTP" && strings.HasPrefix(r.name, "/") && !named[r.name]:
			t.Errorf("%s:%d: no page %s", parityFile, r.line, r.name)
		}
	}
}
