package option_test

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestSides(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		args           []string
		both, from, to *bool
	}{
		{nil, nil, nil, nil},
		{nil, &yes, &yes, &yes},
		{[]string{"--from-plain-http"}, nil, &yes, nil},
		{[]string{"--to-plain-http"}, nil, nil, &yes},
		{[]string{"--from-plain-http=false"}, &yes, &no, &yes},
		{[]string{"--from-plain-http", "--to-plain-http=false"}, nil, &yes, &no},
	} {
		var s option.Sides
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		s.AddFlags(f)
		if err := f.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		from, to := s.Options(f, registry.Options{PlainHTTP: tt.both})
		if !same(from.PlainHTTP, tt.from) || !same(to.PlainHTTP, tt.to) {
			t.Errorf("%q: from %v, to %v", tt.args, from.PlainHTTP, to.PlainHTTP)
		}
	}
}

func same(a, b *bool) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
