package demo

import (
	"bytes"
	"strings"
	"testing"
)

func TestInvalidFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"-nope"}, []string{"-nope"}},
		{[]string{"x"}, []string{`"x"`}},
		{[]string{"-clients", "0", "-channels", "0", "-rate", "0"}, []string{"-clients", "-channels", "-rate"}},
		{[]string{"-rate", "NaN"}, []string{"-rate"}},
		{[]string{"-dns-lag", "1s", "-dns-never"}, []string{"-dns-lag and -dns-never"}},
		{[]string{"-full", "-dns-never"}, []string{"-dns-never and -full"}},
		{[]string{"-dns-ttl", "1500ms", "-max-age", "0s"}, []string{"-dns-ttl", "-max-age"}},
		{[]string{"-dns-lag", "-1s", "-watch", "-1s", "-rest", "-1s"}, []string{"-dns-lag", "-watch", "-rest"}},
		{[]string{"-only", "evenkeel,istio"}, []string{"istio"}},
		{[]string{"-via", "mesh"}, []string{`"mesh"`, "sidecar"}},
		{[]string{"-page", "here"}, []string{"-page"}},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(tc.args, &stdout, &stderr); code != exitUsage {
			t.Errorf("%v: exit status %d, want %d", tc.args, code, exitUsage)
		}
		if strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: got %q on stderr, want one line", tc.args, &stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v: error %q does not mention %q", tc.args, &stderr, want)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"-h"}, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "-dns-never") {
		t.Errorf("exit status %d and help %q, want %d and all flags", code, &stdout, exitOK)
	}
}
