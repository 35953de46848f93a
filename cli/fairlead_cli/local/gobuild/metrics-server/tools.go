//go:build tools

// Package tools pins what `fairlead local` builds, so that go.sum verifies it.
package tools

import (
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
