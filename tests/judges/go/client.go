package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"
)

// side is one way to reach an origin, with connections of its own.
type side struct {
	base string
	http http.Client
}

// newSide asks for no compression by itself, follows no redirect, and has one connection at most
// if `one` says so.
func newSide(base string, one bool) *side {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64,
		ExpectContinueTimeout: 5 * time.Second}
	if one {
		transport.MaxConnsPerHost = 1
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &side{base, http.Client{Transport: transport, CheckRedirect: stay,
		Timeout: 20 * time.Second}}
}

// got is a whole answer.
type got struct {
	*http.Response
	body   []byte
	reused bool
	early  []int // the interim answers before it
}

func (s *side) do(method, path string, body io.Reader, change func(*http.Request)) (*got, error) {
	request, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(request)
	}
	answer := &got{}
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { answer.reused = info.Reused },
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			answer.early = append(answer.early, code)
			return nil
		},
	}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
	answer.Response, err = s.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	answer.body, err = io.ReadAll(answer.Body)
	return answer, err
}

func (s *side) get(path string) (*got, error) { return s.do("GET", path, nil, nil) }

// echo sends a request and gives what the origin says that it saw.
func (s *side) echo(method, path string, body io.Reader,
	change func(*http.Request)) (*seen, *got, error) {
	answer, err := s.do(method, path, body, change)
	if err != nil {
		return nil, nil, err
	}
	told := &seen{}
	if err = json.Unmarshal(answer.body, told); err != nil {
		return nil, nil, fmt.Errorf("status %d, no JSON: %w", answer.StatusCode, err)
	}
	return told, answer, nil
}

func (s *seen) all(name string) (values []string) {
	for _, pair := range s.Fields {
		if strings.EqualFold(pair[0], name) {
			values = append(values, pair[1])
		}
	}
	return values
}

// unsized hides the length of a body, so that Go sends it in chunks.
type unsized struct{ io.Reader }

func client(label, proxied, direct string) {
	name := func(check string) string { return "go client, " + label + " server, " + check }
	p, d := newSide(proxied, true), newSide(direct, true)
	check := func(what string, run func() error) { judge(name(what), run) }

	check("GET of 0 B to 5 MB", func() error { return gets(p) })
	check("HEAD, then GET on its connection", func() error { return head(p) })
	check("answers as without the proxy", func() error { return alike(p, d) })
	check("statuses with and without a body", func() error { return statuses(p) })
	check("chunked answers and trailers", func() error { return chunks(p) })
	check("POST with a length", func() error { return posts(p, false) })
	check("POST in chunks, with trailers", func() error { return posts(p, true) })
	check("methods", func() error { return methods(p) })
	check("targets and fields arrive as sent", func() error { return verbatim(p, d) })
	check("redirects pass", func() error { return redirects(p) })
	check("ranges", func() error { return ranges(p) })
	check("gzip untouched", func() error { return gzipped(p) })
	check("16 KiB of Cookie", func() error { return cookie(p) })
	check("200 requests on one connection", func() error { return kept(newSide(proxied, true)) })
	check("16 clients with 50 requests each", func() error { return many(proxied) })
	check("100-continue", func() error { return expect(newSide(proxied, true)) })
	check("417 instead of 100", func() error { return refused(newSide(proxied, true)) })
	check("413 during an upload of 8 MB", func() error { return early(proxied) })
	check("103 comes through", func() error { return hints(newSide(proxied, true)) })
	check("a drip is not held back", func() error { return drip(p) })
	check("a reset is passed on", func() error { return hang(proxied) })
	check("Connection: close", func() error { return closing(newSide(proxied, true)) })
}
