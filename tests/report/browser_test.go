package report

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// A browser is a headless Chromium with one page, spoken to by its debugging
// protocol.
type browser struct {
	t       *testing.T
	ws      *websocket.Conn
	session string
	n       int
	events  []message
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal("the page needs chromium")
		}
		t.Skip("the page needs chromium")
	}
	return path
}

// browse opens a page.
func browse(t *testing.T, url string) *browser {
	t.Helper()
	profile := t.TempDir()
	cmd := exec.Command(chromium(t), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0", "--remote-allow-origins=*",
		"--user-data-dir="+profile, "about:blank")
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var address string
	for deadline := time.Now().Add(60 * time.Second); address == ""; time.Sleep(20 * time.Millisecond) { // between two looks at a condition
		if data, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort")); err == nil && strings.Count(string(data), "\n") == 1 {
			port, path, _ := strings.Cut(string(data), "\n")
			address = "ws://127.0.0.1:" + port + path
		} else if time.Now().After(deadline) {
			t.Fatal("chromium does not listen")
		}
	}
	ws, err := websocket.Dial(address, "", "http://127.0.0.1")
	must(t, err)
	ws.MaxPayloadBytes = 64 << 20
	b := &browser{t: t, ws: ws}
	t.Cleanup(func() { ws.Close() })
	var target struct {
		TargetID  string `json:"targetId"`
		SessionID string `json:"sessionId"`
	}
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.do(domain+".enable", nil, nil)
	}
	b.do("Page.navigate", map[string]any{"url": url}, nil)
	b.until("document.readyState === 'complete' && location.href !== 'about:blank'")
	return b
}

func (b *browser) do(method string, params map[string]any, result any) {
	b.t.Helper()
	b.call(b.session, method, params, result)
}

func (b *browser) call(session, method string, params map[string]any, result any) {
	b.t.Helper()
	b.n++
	if params == nil {
		params = map[string]any{}
	}
	must(b.t, websocket.JSON.Send(b.ws, map[string]any{"id": b.n, "method": method, "params": params, "sessionId": session}))
	for {
		var m message
		b.ws.SetReadDeadline(time.Now().Add(60 * time.Second))
		if err := websocket.JSON.Receive(b.ws, &m); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if m.ID == 0 {
			b.events = append(b.events, m)
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			must(b.t, json.Unmarshal(m.Result, result))
		}
		return
	}
}

// eval gives the value of an expression in the page.
func (b *browser) eval(expression string, value any) {
	b.t.Helper()
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	}
	b.do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%.100s: %s", expression, r.ExceptionDetails)
	}
	if value != nil {
		must(b.t, json.Unmarshal(r.Result.Value, value))
	}
}

func (b *browser) until(condition string) {
	b.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) { // between two looks at a condition
		var ok bool
		if b.eval("!!("+condition+")", &ok); ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("never: %s", condition)
		}
	}
}

// look makes the window so wide, and light or dark.
func (b *browser) look(width int, scheme string) {
	b.t.Helper()
	b.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.until(fmt.Sprintf("window.innerWidth === %d && matchMedia('(prefers-color-scheme: %s)').matches", width, scheme))
}

// shot takes a picture of the whole page.
func (b *browser) shot() []byte {
	b.t.Helper()
	var r struct {
		Data string `json:"data"`
	}
	b.do("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	must(b.t, err)
	return data
}

// complaints are what the page has said on the console, and what it has asked
// of anybody.
func (b *browser) complaints(url string) []string {
	var all []string
	for _, e := range b.events {
		switch e.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			all = append(all, e.Method+" "+string(e.Params))
		case "Network.requestWillBeSent":
			var p struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			json.Unmarshal(e.Params, &p)
			if p.Request.URL != url && !strings.HasPrefix(p.Request.URL, "data:") {
				all = append(all, "it asks for "+p.Request.URL)
			}
		}
	}
	return all
}
