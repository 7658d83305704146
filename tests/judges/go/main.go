// Go's net/http as a judge. `judge serve PORT` is an origin, whose answers are in ../ORIGIN.md;
// `judge client LABEL PROXIED DIRECT` checks what comes through the proxy against what comes
// without it; `judge steady LABEL URL SECONDS` asks all the time and counts what was lost.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 2 && args[0] == "serve":
		serve(args[1])
	case len(args) == 4 && args[0] == "client":
		client(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "steady":
		steady(args[1], args[2], args[3])
	default:
		fmt.Fprintln(os.Stderr, "usage: judge serve PORT | client LABEL PROXIED DIRECT |",
			"steady LABEL URL SECONDS")
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// pattern gives n bytes, from start on, of 65,521 bytes in which every shift shows.
func pattern(n, start int) []byte {
	out := make([]byte, n)
	for i := range out {
		k := (start + i) % 65521
		out[i] = byte(k*31 + (k>>8)*17)
	}
	return out
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

var (
	failed int
	saying sync.Mutex
)

// judge runs one check; an error is its failure, and so is taking longer than half a minute.
func judge(name string, check func() error) {
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- check() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(30 * time.Second):
		err = fmt.Errorf("not done after 30 s")
	}
	saying.Lock()
	defer saying.Unlock()
	if err != nil {
		failed++
		fmt.Printf("FAIL %s: %v\n", name, err)
	} else {
		fmt.Printf("ok   %s: %.2f s\n", name, time.Since(began).Seconds())
	}
}

func same(what string, seen, wanted any) error {
	a, b := fmt.Sprintf("%#v", seen), fmt.Sprintf("%#v", wanted)
	if a != b {
		return fmt.Errorf("%s: saw %.300s, not %.300s", what, a, b)
	}
	return nil
}

// first gives the first error of several.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
