// A reverse proxy on the standard library's ReverseProxy, in the manner of the article that
// docs/from-the-article.md retells: a registry, a Director that cuts /name/version, and a Dial
// that picks one of the endpoints at random and tries the next one when that fails.
//
// Usage: goproxy PORT SERVICES HOST:PORT,HOST:PORT...
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// registry maps name/version to endpoints.
type registry map[string][]string

// split takes /name/version/rest apart.
func split(path string) (service, rest string, err error) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	if len(parts) < 3 {
		return "", "", errors.New("path too short")
	}
	return parts[0] + "/" + parts[1], "/" + parts[2], nil
}

// dial connects to an endpoint of the service that stands in place of the host.
func (r registry) dial(ctx context.Context, network, address string) (net.Conn, error) {
	service := strings.Replace(strings.TrimSuffix(address, ":80"), ".", "/", 1)
	endpoints := r[service]
	var dialer net.Dialer
	if len(endpoints) == 0 {
		return nil, errors.New("no endpoint for " + service)
	}
	from := rand.Intn(len(endpoints))
	var err error
	for i := range endpoints {
		var conn net.Conn
		conn, err = dialer.DialContext(ctx, network, endpoints[(from+i)%len(endpoints)])
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// buffers spares the copying of bodies an allocation each.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: goproxy PORT SERVICES ENDPOINT,...")
		os.Exit(2)
	}
	count, _ := strconv.Atoi(os.Args[2])
	endpoints := strings.Split(os.Args[3], ",")
	known := registry{"s/v1": endpoints}
	for i := 1; i < count; i++ {
		known[fmt.Sprintf("s%d/v1", i)] = endpoints
	}
	transport := &http.Transport{
		DialContext:         known.dial,
		MaxIdleConnsPerHost: 20000,
		IdleConnTimeout:     10 * time.Minute,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{
		Director: func(request *http.Request) {
			service, rest, err := split(request.URL.Path)
			if err != nil {
				return
			}
			request.URL.Scheme = "http"
			request.URL.Host = strings.Replace(service, "/", ".", 1)
			request.URL.Path = rest
		},
		Transport:  transport,
		BufferPool: &buffers{sync.Pool{New: func() any { p := make([]byte, 32<<10); return &p }}},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy))
}
