// Command kubelet probes each URL that it reads from standard input, one JSON object a line, and prints its verdict as one.
//
// It is the oracle of the verdict table: Go's own net/http client under the settings and rules of the kubelet's HTTP
// prober (pkg/probe/http of Kubernetes), so that what we expect of an app's misbehaviour never comes from our own code.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const maxBody = 10 << 10

type question struct {
	URL     string            `json:"url"`
	Timeout float64           `json:"timeout"`
	Headers map[string]string `json:"headers"`
}

type verdict struct {
	Verdict string `json:"verdict"` // success, warning, failure, errored
	Detail  string `json:"detail"`
}

func sameHost(request *http.Request, via []*http.Request) error {
	if request.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

func newClient(timeout time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: sameHost,
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives:  true,
			DisableCompression: true,
			ForceAttemptHTTP2:  true,
			Proxy:              http.ProxyURL(nil),
			DialContext:        dialer.DialContext,
		},
	}
}

// probeURL reads the path as the kubelet reads httpGet.path: parsed on its own, then put behind scheme, host and port.
func probeURL(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	host, path := rest, ""
	if slash := strings.IndexAny(rest, "/?#"); slash >= 0 {
		host, path = rest[:slash], rest[slash:]
	}
	parsed, err := url.Parse(path)
	if err != nil {
		parsed = &url.URL{Path: path}
	}
	parsed.Scheme, parsed.Host = scheme, host
	return parsed.String()
}

func ask(q question) verdict {
	request, err := http.NewRequest("GET", probeURL(q.URL), nil)
	if err != nil {
		return verdict{"failure", err.Error()}
	}
	for name, value := range q.Headers {
		request.Header.Add(name, value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", "kube-probe/1.36")
	}
	if _, ok := request.Header["Accept"]; !ok {
		request.Header.Set("Accept", "*/*")
	} else if request.Header.Get("Accept") == "" {
		request.Header.Del("Accept")
	}
	request.Host = request.Header.Get("Host")
	response, err := newClient(time.Duration(q.Timeout * float64(time.Second))).Do(request)
	if err != nil {
		return verdict{"failure", err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil && len(body) < maxBody {
		return verdict{"errored", err.Error()}
	}
	switch {
	case response.StatusCode >= 200 && response.StatusCode < 300:
		return verdict{"success", response.Status}
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return verdict{"warning", response.Status}
	}
	return verdict{"failure", response.Status}
}

func main() {
	lines, answers := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			panic(err)
		}
		if err := answers.Encode(ask(q)); err != nil {
			panic(err)
		}
	}
}
