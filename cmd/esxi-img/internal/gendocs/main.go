// Command gendocs writes the documents of the command line: Markdown for
// docs/cli, and man pages for the packages.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/cli"
)

func main() {
	markdown := flag.String("markdown", "", "write Markdown to this `folder`")
	man := flag.String("man", "", "write man pages to this `folder`")
	flag.Parse()
	if err := generate(*markdown, *man); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func generate(markdown, man string) error {
	if markdown != "" {
		if err := os.MkdirAll(markdown, 0o750); err != nil {
			return err
		}
		if err := doc.GenMarkdownTree(tree(), markdown); err != nil {
			return err
		}
	}
	if man != "" {
		if err := os.MkdirAll(man, 0o750); err != nil {
			return err
		}
		// Dated by nothing, so that the same source gives the same pages.
		epoch := time.Unix(0, 0).UTC()
		header := &doc.GenManHeader{Section: "1", Source: "esxi-img", Manual: "esxi-img", Date: &epoch}
		return doc.GenManTree(tree(), header, man)
	}
	return nil
}

// tree is the command tree without what only the shell needs.
func tree() *cobra.Command {
	root := cli.Root()
	root.InitDefaultCompletionCmd()
	walk(root, func(c *cobra.Command) {
		c.DisableAutoGenTag = true
		c.Long = strings.TrimSpace(c.Long)
	})
	return root
}

func walk(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		walk(sub, do)
	}
}
