package main

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"

	"derpd/bench"
	"derpd/bench/present"
	"derpd/cmd/internal/commands"
	"derpd/loadgen/report"
)

func reportCommand(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	var md, html, goBench string
	fs.StringVar(&md, "md", "", "`file` to write it to as Markdown, with its plots as SVG in a "+
		"folder beside it")
	fs.StringVar(&html, "html", "", "`file` to write it to as a page that loads nothing")
	fs.StringVar(&goBench, "gobench", "", "`file` to write it to in Go's benchmark format")
	return func(_ context.Context, c *console, args []string) error {
		r, err := one(args)
		if err != nil {
			return err
		}
		if md == "" && html == "" && goBench == "" {
			return present.Text(c.Out, r)
		}
		for path, render := range map[string]func(io.Writer) error{
			md:      func(w io.Writer) error { return present.Markdown(w, r, plotsBeside(md)) },
			html:    func(w io.Writer) error { return present.HTML(w, r) },
			goBench: func(w io.Writer) error { return bench.GoBench(w, r) },
		} {
			if path == "" {
				continue
			}
			if err := report.WriteFile(path, render); err != nil {
				return err
			}
		}
		return nil
	}
}

// one reads the report that a command's only argument names.
func one(args []string) (*bench.Report, error) {
	if len(args) != 1 {
		return nil, commands.Misuse("want one report; %d were named", len(args))
	}
	r, err := bench.Read(args[0])
	if err != nil {
		return nil, commands.Misused(err)
	}
	return r, nil
}

// plotsBeside writes plots to a folder beside a text, and returns their paths as seen from there.
func plotsBeside(text string) present.Draw {
	return plotsIn(filepath.Dir(text), filepath.Base(text)+".plots")
}

func plotsIn(base, folder string) present.Draw {
	return func(name string, svg []byte) (string, error) {
		if err := os.MkdirAll(filepath.Join(base, folder), 0o777); err != nil {
			return "", err
		}
		err := report.WriteFile(filepath.Join(base, folder, name), func(w io.Writer) error {
			_, err := w.Write(svg)
			return err
		})
		return filepath.ToSlash(filepath.Join(folder, name)), err
	}
}

func documentCommand(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	var text, out, plots string
	fs.StringVar(&text, "template", "", "`file` with the text, in which figures are asked for by name")
	fs.StringVar(&out, "o", "", "`file` to write to")
	fs.StringVar(&plots, "plots", "plots", "`folder` for the plots, from where that file is")
	return func(_ context.Context, c *console, args []string) error {
		if text == "" || out == "" {
			return commands.Misuse("want -template FILE and -o FILE")
		}
		r, err := one(args)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(text)
		if err != nil {
			return commands.Misused(err)
		}
		return report.WriteFile(out, func(w io.Writer) error {
			return present.Document(w, string(b), r, plotsIn(filepath.Dir(out), plots))
		})
	}
}
