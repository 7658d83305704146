package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// seen is what an origin tells about a request.
type seen struct {
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Length   int         `json:"length"`
	Sum      string      `json:"sum"`
	Fields   [][2]string `json:"fields"`
	Trailers [][2]string `json:"trailers"`
}

var gone int64

func serve(port string) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	// No ServeMux: it would clean the paths, and they shall be seen as they came.
	server := &http.Server{Handler: http.HandlerFunc(handle)}
	ended := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		limit, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		server.Shutdown(limit)
		close(ended)
	}()
	if err := server.Serve(listener); err == http.ErrServerClosed {
		<-ended
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(strings.SplitN(r.RequestURI, "?", 2)[0], "/")
	word, rest, _ := strings.Cut(path, "/")
	number, _ := strconv.Atoi(rest)
	switch word {
	case "early":
		w.Header().Set("Connection", "close")
		answer(w, 413, []byte("too large\n"))
		return
	case "never":
		if r.Header.Get("Expect") != "" {
			w.Header().Set("Connection", "close")
			answer(w, 417, []byte("not this\n"))
			return
		}
	case "hang":
		<-r.Context().Done()
		atomic.AddInt64(&gone, 1)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	switch word {
	case "bytes":
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(pattern(number, 0)))
	case "chunked":
		chunked(w, pattern(number, 0))
	case "echo":
		echo(w, r, body)
	case "mirror":
		answer(w, 200, body)
	case "status":
		if number == 204 || number == 304 {
			w.Header().Set("ETag", `"judge"`)
			w.WriteHeader(number)
		} else {
			answer(w, number, []byte(fmt.Sprintf("status %d\n", number)))
		}
	case "moved":
		w.Header().Set("Location", "/else/where?a=%20b#c")
		answer(w, number, []byte("moved\n"))
	case "never":
		answer(w, 200, []byte("asked without Expect\n"))
	case "gzip":
		zipped := zip(pattern(100000, 0))
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("X-Sum", checksum(zipped))
		answer(w, 200, zipped)
	case "fields":
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Set("X-Large", strings.Repeat("x", 16000))
		w.Header().Add("Set-Cookie", "b=2")
		w.Header()["x-lower"] = []string{"1"}
		answer(w, 200, []byte("fields\n"))
	case "hints":
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Del("Link")
		answer(w, 200, []byte("hinted\n"))
	case "drip":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; n < 6; n++ {
			fmt.Fprintf(w, "piece %d\n", n)
			w.(http.Flusher).Flush()
			time.Sleep(60 * time.Millisecond)
		}
	case "gone":
		answer(w, 200, []byte(strconv.FormatInt(atomic.LoadInt64(&gone), 10)))
	default:
		answer(w, 404, []byte("nothing here\n"))
	}
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func chunked(w http.ResponseWriter, body []byte) {
	w.Header().Set("Trailer", "X-Length, X-Sum")
	w.WriteHeader(200)
	for at := 0; at < len(body); at += 10000 {
		end := at + 10000
		if end > len(body) {
			end = len(body)
		}
		w.Write(body[at:end])
		w.(http.Flusher).Flush()
	}
	w.Header().Set("X-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Sum", checksum(body))
}

func echo(w http.ResponseWriter, r *http.Request, body []byte) {
	said := seen{Method: r.Method, Target: r.RequestURI, Length: len(body), Sum: checksum(body),
		Fields: pairs(r.Header), Trailers: pairs(r.Trailer)}
	// Go takes Host out of the fields.
	said.Fields = append(said.Fields, [2]string{"Host", r.Host})
	text, _ := json.Marshal(said)
	w.Header().Set("Content-Type", "application/json")
	answer(w, 200, text)
}

func pairs(header http.Header) [][2]string {
	all := [][2]string{}
	for name, values := range header {
		for _, value := range values {
			all = append(all, [2]string{name, value})
		}
	}
	return all
}

func zip(body []byte) []byte {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	writer.Write(body)
	writer.Close()
	return out.Bytes()
}
