package derp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ClientInfo is what a client says about itself in its login. The field tags and the
// case-blind decoding of encoding/json are the wire format.
type ClientInfo struct {
	MeshKey     MeshKey `json:"meshKey,omitzero"` // zero for ordinary clients
	Version     int     `json:"version,omitempty"`
	CanAckPings bool    // answers Ping; always on the wire
	IsProber    bool    `json:",omitempty"`
	AppName     string  `json:",omitempty"` // see ValidAppName
}

// ServerInfo answers a login. A client that is given a token bucket holds itself to it by
// dropping what it may not send.
type ServerInfo struct {
	Version                   int `json:"version,omitempty"`
	TokenBucketBytesPerSecond int `json:",omitempty"` // 0 is no limit
	TokenBucketBytesBurst     int `json:",omitempty"`
}

// Why the message in a login box is refused.
var (
	ErrInfoJSON = errors.New("derp: the login message is not the JSON of a ClientInfo")
	ErrAppName  = errors.New("derp: the application name of a login must be at most " +
		"32 printable ASCII characters")
)

// ValidAppName reports whether a login may carry this application name: at most MaxAppName
// bytes of printable ASCII, 0x20 to 0x7e. Empty is valid.
func ValidAppName(name string) bool {
	if len(name) > MaxAppName {
		return false
	}
	for i := range len(name) {
		if name[i] < 0x20 || name[i] > 0x7e {
			return false
		}
	}
	return true
}

// decodeClientInfo reads the plaintext of a login. Errors wrap ErrInfoJSON or ErrAppName
// and never contain the mesh key.
func decodeClientInfo(msg []byte) (ClientInfo, error) {
	var info ClientInfo
	if err := json.Unmarshal(msg, &info); err != nil {
		return ClientInfo{}, fmt.Errorf("%w: %w", ErrInfoJSON, err)
	}
	if !ValidAppName(info.AppName) {
		return ClientInfo{}, fmt.Errorf("%w: %.40q", ErrAppName, info.AppName)
	}
	return info, nil
}

// appendJSON appends what json.Marshal would make of i, without its allocations.
func (i ServerInfo) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	dst = appendIntField(dst, "version", i.Version)
	dst = appendIntField(dst, "TokenBucketBytesPerSecond", i.TokenBucketBytesPerSecond)
	dst = appendIntField(dst, "TokenBucketBytesBurst", i.TokenBucketBytesBurst)
	return append(dst, '}')
}

func appendIntField(dst []byte, name string, v int) []byte {
	if v == 0 {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(append(append(dst, '"'), name...), `":`...)
	return strconv.AppendInt(dst, int64(v), 10)
}
