package alerts

import "testing"

func TestShorten(t *testing.T) {
	for _, tt := range []struct{ in, want rule }{
		{
			rule{Alert: "A", For: "30m", Expr: `increase(x{a="10m"}[10m]) > avg_over_time(sum(y)[1h:1m]) / 6`},
			rule{Alert: "A", For: "30000ms", Expr: `increase(x{a="10m"}[10000ms]) > avg_over_time(sum(y)[60000ms:1000ms]) / 6`},
		},
		{rule{Alert: "EvenkeelSwitchedOff", For: "24h"}, rule{Alert: "EvenkeelSwitchedOff", For: "60000ms"}},
		{rule{Alert: "EvenkeelStuck", For: "5m", Expr: "x[5m]"}, rule{Alert: "EvenkeelStuck", For: "5000ms", Expr: "x[10000ms]"}},
		{rule{Alert: "B", Expr: "up == 0"}, rule{Alert: "B", Expr: "up == 0"}},
	} {
		got := shorten(tt.in)
		if got.For != tt.want.For || got.Expr != tt.want.Expr {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
}
