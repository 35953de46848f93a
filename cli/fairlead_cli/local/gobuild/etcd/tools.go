//go:build tools

// Package tools pins what `fairlead local` builds, so that go.sum verifies it.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)
