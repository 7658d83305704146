package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func kept(s *side) error {
	for n := 0; n < 200; n++ {
		target := fmt.Sprintf("/echo/%d", n)
		told, answer, err := s.echo("GET", target, nil, nil)
		if err != nil {
			return err
		}
		if err := first(same("target", told.Target, target),
			same(fmt.Sprintf("request %d reuses", n), answer.reused, n > 0)); err != nil {
			return err
		}
	}
	return nil
}

func many(base string) error {
	s := newSide(base, false)
	errs := make(chan error, 16)
	for worker := 0; worker < 16; worker++ {
		go func(worker int) {
			errs <- func() error {
				for n := 0; n < 50; n++ {
					target := fmt.Sprintf("/echo/%d/%d", worker, n)
					method, body := "GET", []byte{}
					if n%3 == 1 {
						method, body = "POST", pattern(n*997, worker)
					}
					told, _, err := s.echo(method, target, bytes.NewReader(body), nil)
					if err != nil {
						return err
					}
					if err := first(same("target", told.Target, target),
						same("method", told.Method, method),
						same("sum", told.Sum, checksum(body))); err != nil {
						return err
					}
				}
				return nil
			}()
		}(worker)
	}
	var all []error
	for worker := 0; worker < 16; worker++ {
		all = append(all, <-errs)
	}
	return first(all...)
}

func expect(s *side) error {
	body := pattern(300_000, 3)
	for i := 0; i < 3; i++ {
		asked := time.Now()
		told, answer, err := s.echo("POST", "/echo/expect", bytes.NewReader(body),
			func(r *http.Request) { r.Header.Set("Expect", "100-continue") })
		if err != nil {
			return err
		}
		if err := first(same("interim", answer.early, []int{100}),
			same("sum", told.Sum, checksum(body)),
			same("Expect", told.all("Expect"), []string{"100-continue"}),
			same("reused", answer.reused, i > 0),
			same("soon", time.Since(asked) < time.Second, true)); err != nil {
			return err
		}
	}
	return nil
}

// spy counts what is read of it.
type spy struct {
	io.Reader
	read int64
}

func (s *spy) Read(into []byte) (int, error) {
	n, err := s.Reader.Read(into)
	atomic.AddInt64(&s.read, int64(n))
	return n, err
}

func refused(s *side) error {
	for i := 0; i < 3; i++ {
		body := &spy{Reader: bytes.NewReader(pattern(300_000, 0))}
		answer, err := s.do("POST", "/never", body, func(r *http.Request) {
			r.Header.Set("Expect", "100-continue")
			r.ContentLength = 300_000
		})
		if err != nil {
			return err
		}
		if err := first(same("status", answer.StatusCode, 417),
			same("body", string(answer.body), "not this\n"),
			same("interim", len(answer.early), 0),
			same("bytes sent", atomic.LoadInt64(&body.read), int64(0))); err != nil {
			return err
		}
	}
	answer, err := s.get("/bytes/11")
	if err != nil {
		return err
	}
	return same("after it", answer.body, pattern(11, 0))
}

func early(base string) error {
	for i := 0; i < 5; i++ {
		s := newSide(base, true)
		answer, err := s.do("POST", "/early", bytes.NewReader(pattern(8_000_000, 0)), nil)
		if err != nil {
			return fmt.Errorf("upload %d: %w", i, err)
		}
		if err := first(same("status", answer.StatusCode, 413),
			same("body", string(answer.body), "too large\n")); err != nil {
			return err
		}
		after, err := s.get("/bytes/11")
		if err != nil {
			return fmt.Errorf("the request after it: %w", err)
		}
		if err := same("after it", after.body, pattern(11, 0)); err != nil {
			return err
		}
	}
	return nil
}

func hints(s *side) error {
	answer, err := s.get("/hints")
	if err != nil {
		return err
	}
	return first(same("interim", answer.early, []int{103}),
		same("body", string(answer.body), "hinted\n"))
}

func drip(s *side) error {
	response, err := s.http.Get(s.base + "/drip")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var text string
	var began time.Time
	for piece := make([]byte, 100); ; {
		n, err := response.Body.Read(piece)
		if n > 0 && text == "" {
			began = time.Now()
		}
		text += string(piece[:n])
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	wanted := "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\npiece 5\n"
	return first(same("text", text, wanted),
		same("spread over 200 ms", time.Since(began) > 200*time.Millisecond, true))
}

// hang asks, and then resets its connection: a FIN would be a half-close (B8.5).
func hang(base string) error {
	s := newSide(base, false)
	before, err := s.get("/gone")
	if err != nil {
		return err
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	raw, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	fmt.Fprintf(raw, "GET /%s/hang HTTP/1.1\r\nHost: t\r\n\r\n", path)
	time.Sleep(200 * time.Millisecond)
	raw.(*net.TCPConn).SetLinger(0)
	raw.Close()
	count, _ := strconv.Atoi(string(before.body))
	for i := 0; i < 40; i++ {
		after, err := s.get("/gone")
		if err != nil {
			return err
		}
		if string(after.body) == strconv.Itoa(count+1) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("not noticed within 2 s")
}

func closing(s *side) error {
	for i := 0; i < 3; i++ {
		answer, err := s.do("GET", "/bytes/16384", nil, func(r *http.Request) { r.Close = true })
		if err != nil {
			return err
		}
		if err := first(same("close", answer.Close, true), same("reused", answer.reused, false),
			same("sum", checksum(answer.body), checksum(pattern(16384, 0)))); err != nil {
			return err
		}
	}
	return nil
}

// steady asks 16 times at once, over and over, GETs and POSTs with an Idempotency-Key, and counts
// what was not answered as it should be.
func steady(label, base, seconds string) {
	limit, err := strconv.Atoi(seconds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s := newSide(base, false)
	until := time.Now().Add(time.Duration(limit) * time.Second)
	var asked, lost int64
	var last atomic.Value
	var workers sync.WaitGroup
	for worker := 0; worker < 16; worker++ {
		workers.Add(1)
		go func(worker int) {
			defer workers.Done()
			for n := 0; time.Now().Before(until); n++ {
				method, body := "GET", []byte{}
				if n%2 == 1 {
					method, body = "POST", pattern(3000, n)
				}
				target := fmt.Sprintf("/echo/%d/%d", worker, n)
				told, _, err := s.echo(method, target, bytes.NewReader(body),
					func(r *http.Request) { r.Header.Set("Idempotency-Key", target) })
				if err == nil {
					err = first(same("target", told.Target, target),
						same("sum", told.Sum, checksum(body)))
				}
				atomic.AddInt64(&asked, 1)
				if err != nil {
					atomic.AddInt64(&lost, 1)
					last.Store(err.Error())
				}
				time.Sleep(5 * time.Millisecond)
			}
		}(worker)
	}
	workers.Wait()
	name := fmt.Sprintf("go client, %s server, restarts in mid-run", label)
	if lost > 0 || asked < 200 {
		failed++
		fmt.Printf("FAIL %s: %d of %d lost; %v\n", name, lost, asked, last.Load())
	} else {
		fmt.Printf("ok   %s: %d requests, 0 lost\n", name, asked)
	}
}
