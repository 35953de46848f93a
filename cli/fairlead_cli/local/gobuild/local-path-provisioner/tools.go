//go:build tools

// Package tools pins what `fairlead local` builds, so that go.sum verifies it.
package tools

import (
	_ "github.com/rancher/local-path-provisioner"
)
