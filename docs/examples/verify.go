// Verify a request of the scheduler: Standard Webhooks, with Go's standard library.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute

// IsGenuine says whether the scheduler signed this body; the names of headers are in lower case.
func IsGenuine(secret string, headers map[string]string, body []byte) bool {
	timestamp := headers["webhook-timestamp"]
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(headers["webhook-id"] + "." + timestamp + "."))
	mac.Write(body)
	expected := mac.Sum(nil)
	// One for each live secret; while secrets rotate there are two.
	for _, signature := range strings.Fields(headers["webhook-signature"]) {
		version, text, _ := strings.Cut(signature, ",")
		given, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(given, expected) {
			return true
		}
	}
	return false
}

// Headers as a JSON object in the second argument, the body on standard input.
func main() {
	headers := map[string]string{}
	if json.Unmarshal([]byte(os.Args[2]), &headers) != nil {
		os.Exit(1)
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil || !IsGenuine(os.Args[1], headers, body) {
		os.Exit(1)
	}
}
