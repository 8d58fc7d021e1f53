package customize

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/imager"
)

// TestRecordBounds holds that what is read from an image has an end, and that an
// image cannot be customised for ever.
func TestRecordBounds(t *testing.T) {
	steps := func(n int) string {
		return `{"version":1,"steps":[` + strings.TrimSuffix(strings.Repeat(`{"source":{"name":"a"}},`, n), ",") + `]}`
	}
	full, err := ParseRecord([]byte(steps(maxSteps)))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		steps(maxSteps + 1): fmt.Sprintf("has %d steps", maxSteps+1),
		steps(0):            "has 0 steps",
		strings.Replace(steps(1), ":1,", ":2,", 1): "is of version 2",
		"{": "is not the JSON",
		steps(1) + strings.Repeat(" ", maxRecord):           "has more than",
		`{"version":1,"steps":"` + imager.RecordPath + `"}`: "is not the JSON",
	} {
		if r, err := ParseRecord([]byte(text)); r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	var input *imager.InputError
	if _, _, err := full.with(Step{}); !errors.As(err, &input) || input.Advice == "" {
		t.Errorf("one step more: %v", err)
	}
	long := Step{Edits: []Edit{{What: strings.Repeat("x", maxRecord)}}}
	if _, _, err := (*Record)(nil).with(long); !errors.As(err, &input) || input.Advice == "" {
		t.Errorf("a long step: %v", err)
	}
	next, text, err := (&Record{Version: 1, Steps: full.Steps[:3]}).with(Step{Source: Source{Name: "b"}})
	if err != nil || len(next.Steps) != 4 || next.Steps[0].Source.Name != "a" || next.Steps[3].Source.Name != "b" {
		t.Errorf("%+v, %v", next, err)
	}
	if again, err := ParseRecord(text); err != nil || len(again.Steps) != 4 {
		t.Errorf("%s: %v", text, err)
	}
}
