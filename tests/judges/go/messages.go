package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

func gets(s *side) error {
	for _, n := range []int{0, 1, 11, 16384, 65537, 5_000_000} {
		answer, err := s.get(fmt.Sprintf("/bytes/%d", n))
		if err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		if answer.StatusCode != 200 || !bytes.Equal(answer.body, pattern(n, 0)) {
			return fmt.Errorf("%d bytes: status %d, %d bytes", n, answer.StatusCode,
				len(answer.body))
		}
	}
	return nil
}

func head(s *side) error {
	for i := 0; i < 3; i++ {
		answer, err := s.do("HEAD", "/bytes/5000000", nil, nil)
		if err != nil {
			return err
		}
		after, err := s.get("/bytes/11")
		if err != nil {
			return err
		}
		if err := first(same("length", answer.ContentLength, int64(5_000_000)),
			same("body", len(answer.body), 0), same("reused", after.reused, true),
			same("the GET after it", after.body, pattern(11, 0))); err != nil {
			return err
		}
	}
	return nil
}

// alike compares whole answers, less what may differ from one connection to the next.
func alike(p, d *side) error {
	for _, path := range []string{"/bytes/100", "/fields", "/gzip", "/moved/301", "/status/404",
		"/status/204", "/status/304", "/chunked/30000", "/nothing"} {
		one, err := p.get(path)
		if err != nil {
			return err
		}
		two, err := d.get(path)
		if err != nil {
			return err
		}
		for _, name := range []string{"Date", "Connection", "Keep-Alive"} {
			one.Header.Del(name)
			two.Header.Del(name)
		}
		if err := first(same(path, one.Status, two.Status),
			same(path, one.Header, two.Header), same(path, one.Trailer, two.Trailer),
			same(path, one.ContentLength, two.ContentLength),
			same(path, checksum(one.body), checksum(two.body))); err != nil {
			return err
		}
	}
	return nil
}

func statuses(s *side) error {
	for _, n := range []int{200, 204, 304, 404, 410, 500, 503, 204, 299} {
		answer, err := s.get(fmt.Sprintf("/status/%d", n))
		if err != nil {
			return err
		}
		body := fmt.Sprintf("status %d\n", n)
		if n == 204 || n == 304 {
			body = ""
		}
		if err := first(same("status", answer.StatusCode, n),
			same("body", string(answer.body), body)); err != nil {
			return err
		}
	}
	return nil
}

func chunks(s *side) error {
	for _, n := range []int{0, 1, 9_999, 1_000_000} {
		answer, err := s.get(fmt.Sprintf("/chunked/%d", n))
		if err != nil {
			return err
		}
		if err := first(same("body", checksum(answer.body), checksum(pattern(n, 0))),
			same("X-Length", answer.Trailer.Get("X-Length"), strconv.Itoa(n)),
			same("X-Sum", answer.Trailer.Get("X-Sum"), checksum(answer.body))); err != nil {
			return err
		}
	}
	return nil
}

func posts(s *side, inChunks bool) error {
	for _, n := range []int{0, 1, 16_384, 5_000_000} {
		body := pattern(n, 7)
		var reader io.Reader = bytes.NewReader(body)
		change := func(r *http.Request) {}
		if inChunks {
			reader = unsized{reader}
			change = func(r *http.Request) { r.Trailer = http.Header{"X-End": {"of it"}} }
		}
		told, _, err := s.echo("POST", "/echo/post", reader, change)
		if err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		if err := first(same("method", told.Method, "POST"), same("length", told.Length, n),
			same("sum", told.Sum, checksum(body))); err != nil {
			return err
		}
		if inChunks {
			if err := same("trailers", told.Trailers, [][2]string{{"X-End", "of it"}}); err != nil {
				return err
			}
		}
		answer, err := s.do("POST", "/mirror", bytes.NewReader(body), nil)
		if err != nil {
			return err
		}
		if err := same("mirror", checksum(answer.body), checksum(body)); err != nil {
			return err
		}
	}
	return nil
}

func methods(s *side) error {
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "SEARCH"} {
		told, _, err := s.echo(method, "/echo/m", strings.NewReader("a body"), nil)
		if err != nil {
			return err
		}
		if err := first(same("method", told.Method, method), same("length", told.Length, 6),
			same("sum", told.Sum, checksum([]byte("a body")))); err != nil {
			return err
		}
	}
	return nil
}

// verbatim compares what the origin saw through the proxy with what it saw without it.
func verbatim(p, d *side) error {
	targets := []string{"/echo/a%2Fb//c;x=1?q=%20&r=a+b&&=", "/echo/%41%c3%bc/~u/(x)!$,", "/echo/?",
		"/echo/a/./b?../x"}
	for _, target := range targets {
		change := func(r *http.Request) {
			r.Host = "an.example:81"
			r.Header["X-Dup"] = []string{"one", "two, three"}
			r.Header.Set("X-Odd", "a\tb  c;\"\xe4\"")
			r.Header.Set("Authorization", "Basic eDp5")
		}
		one, _, err := p.echo("GET", target, nil, change)
		if err != nil {
			return err
		}
		two, _, err := d.echo("GET", target, nil, change)
		if err != nil {
			return err
		}
		if err := first(same("target", one.Target, target),
			same("as without the proxy", one.Target, two.Target)); err != nil {
			return err
		}
		for _, name := range []string{"Host", "X-Dup", "X-Odd", "Authorization", "User-Agent"} {
			if err := same(name, one.all(name), two.all(name)); err != nil {
				return err
			}
		}
		// Three are added: X-Forwarded-For, -Host and -Proto.
		if err := same("number of fields", len(one.Fields), len(two.Fields)+3); err != nil {
			return err
		}
	}
	return nil
}

func redirects(s *side) error {
	for _, n := range []int{301, 302, 303, 307, 308} {
		answer, err := s.do("POST", fmt.Sprintf("/moved/%d", n), strings.NewReader("x"), nil)
		if err != nil {
			return err
		}
		if err := first(same("status", answer.StatusCode, n),
			same("Location", answer.Header.Get("Location"), "/else/where?a=%20b#c"),
			same("body", string(answer.body), "moved\n")); err != nil {
			return err
		}
	}
	return nil
}

func ranges(s *side) error {
	whole := pattern(1_000_000, 0)
	for _, row := range []struct {
		ask        string
		start, end int
	}{{"0-0", 0, 1}, {"500000-", 500_000, 1_000_000}, {"100-70099", 100, 70_100},
		{"-10", 999_990, 1_000_000}} {
		answer, err := s.do("GET", "/bytes/1000000", nil, func(r *http.Request) {
			r.Header.Set("Range", "bytes="+row.ask)
		})
		if err != nil {
			return err
		}
		said := fmt.Sprintf("bytes %d-%d/1000000", row.start, row.end-1)
		if err := first(same("status", answer.StatusCode, 206),
			same("Content-Range", answer.Header.Get("Content-Range"), said),
			same("part", bytes.Equal(answer.body, whole[row.start:row.end]), true)); err != nil {
			return err
		}
	}
	answer, err := s.do("GET", "/bytes/10", nil, func(r *http.Request) {
		r.Header.Set("Range", "bytes=10-")
	})
	if err != nil {
		return err
	}
	return same("beyond the end", answer.StatusCode, 416)
}

func gzipped(s *side) error {
	answer, err := s.do("GET", "/gzip", nil, func(r *http.Request) {
		r.Header.Set("Accept-Encoding", "gzip")
	})
	if err != nil {
		return err
	}
	return first(same("coding", answer.Header.Get("Content-Encoding"), "gzip"),
		same("sum", checksum(answer.body), answer.Header.Get("X-Sum")))
}

func cookie(s *side) error {
	value := "c=" + strings.Repeat("0123456789abcdef", 1024)
	told, _, err := s.echo("GET", "/echo/cookie", nil, func(r *http.Request) {
		r.Header.Set("Cookie", value)
	})
	if err != nil {
		return err
	}
	answer, err := s.get("/fields")
	if err != nil {
		return err
	}
	return first(same("cookie", told.all("Cookie"), []string{value}),
		same("X-Large", len(answer.Header.Get("X-Large")), 16_000),
		same("Set-Cookie", answer.Header["Set-Cookie"], []string{"a=1", "b=2"}))
}
