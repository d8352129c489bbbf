package main

// marks name what keeps a scenario from its limits today. A scenario that keeps them loses its
// line here.
var marks = map[string]string{
	"hpa-3to5":          "finding 1",
	"bursts-10-2min":    "finding 5",
	"reports-0":         "false reports",
	"one-address-4to8":  "finding 12",
	"idle-busy-2to4":    "finding 15",
	"zones-3x2-14":      "finding 4",
	"zones-3x6-14":      "finding 4",
	"zones-3x6-150":     "finding 4",
	"cores-3to6":        "shares",
	"endless-eager-100": "finding 9",
	"few-10to20":        "few connections",
	"zones-3x20-14":     "finding 4",
	"zones-3x20-150":    "finding 4",
	"zones-scattered":   "finding 4",
	"zones-hpa":         "finding 4",
	"polite-lazy":       "polite streams",
	"polite-eager":      "polite streams",
}
