// Package config holds all settings of evenkeel: one struct, one YAML tree, and the same
// keys in the environment and in the values of the Helm chart.
//
//	cfg, err := config.Load(config.Layers{File: "evenkeel.yaml"})
//
// Loading is strict: an unknown key, a value of the wrong type or a value out of range is
// an error, and one error names every bad key with its file and line. A pod that starts only
// warns of unknown keys, since they may be those of another version: see Layers.Unknown. [Watch] loads a
// file again when it changes. docs/settings.md describes each key, its range and its risk.
package config
