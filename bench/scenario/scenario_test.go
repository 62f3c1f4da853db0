package scenario

import (
	"slices"
	"strings"
	"testing"
)

func TestScales(t *testing.T) {
	for _, scale := range Scales() {
		names := map[string]bool{}
		for i, s := range scale.Scenarios {
			if names[s.Name] || s.Rounds < 1 || s.Text == "" || s.Play == nil {
				t.Errorf("%s: %+v", scale.Name, s)
			}
			names[s.Name] = true
			if s.Knee && (i == 0 || scale.Scenarios[0].Name != "knee-tls") {
				t.Errorf("%s: %s needs a knee that is found first", scale.Name, s.Name)
			}
			if strings.Contains(s.Name, "plain") != s.Plain {
				t.Errorf("%s: plain is %v", s.Name, s.Plain)
			}
		}
	}
	if _, err := Find("vast"); err == nil || !strings.Contains(err.Error(), "quick, full, gate") {
		t.Errorf("%v", err)
	}
}

func TestOnly(t *testing.T) {
	s, err := Find("full")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Only([]string{"stun", "knee-tls"}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range s.Scenarios {
		names = append(names, s.Scenarios[i].Name)
	}
	if !slices.Equal(names, []string{"stun", "knee-tls"}) {
		t.Errorf("%q", names)
	}
	if err := s.Only([]string{"bulk"}); err == nil || !strings.Contains(err.Error(), "stun") {
		t.Errorf("%v", err)
	}
}
