package derp

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/dh/x25519"
	"golang.org/x/crypto/nacl/secretbox"
	//lint:ignore SA1019 a NaCl box is defined by HSalsa20, and x/crypto has it only there
	"golang.org/x/crypto/salsa20/salsa"
)

// Shared is the secret of one pair of keys, from which both boxes of a login are made. It
// is worth as much as either private key: keep it no longer than the login.
type Shared [32]byte

// Why a login box is refused.
var (
	// ErrLowOrder: the peer's public key is one of the few with which every private key
	// yields the same, public secret. No honest peer has one.
	ErrLowOrder = errors.New("derp: the peer's public key has low order")
	// ErrBox: the box does not open. It was altered, or made for another server's key.
	ErrBox = errors.New("derp: the login box does not open with these keys")
)

// Shared computes the secret of p and the peer's key as NaCl's crypto_box_beforenm does:
// X25519 (RFC 7748), then HSalsa20 (about 35 µs, no allocation). The error is ErrLowOrder.
func (p PrivateKey) Shared(peer Key) (Shared, error) {
	var point x25519.Key
	secret, public := x25519.Key(p), x25519.Key(peer)
	if !x25519.Shared(&point, &secret, &public) {
		return Shared{}, ErrLowOrder
	}
	var s Shared
	var zero [16]byte
	salsa.HSalsa20((*[32]byte)(&s), &zero, (*[32]byte)(&point), &salsa.Sigma)
	return s, nil
}

// OpenClientInfo opens the login in a ClientInfo payload: who the client is, what it says,
// and the secret for the answer. By opening, the client has proved to hold the private key
// of the Key returned. Errors: *LengthError, or wrapped ErrLowOrder, ErrBox, ErrInfoJSON or
// ErrAppName; except for the first two the client is known and its key is returned too.
func OpenClientInfo(server PrivateKey, payload []byte) (Key, ClientInfo, Shared, error) {
	if err := CheckLen(FrameClientInfo, len(payload), FromClient); err != nil {
		return Key{}, ClientInfo{}, Shared{}, err
	}
	client := Key(payload[:KeyLen])
	shared, err := server.Shared(client)
	if err != nil {
		return Key{}, ClientInfo{}, Shared{}, err
	}
	msg, err := shared.open(payload[KeyLen:])
	if err != nil {
		return client, ClientInfo{}, Shared{}, fmt.Errorf("%w (client %v)", err, client.Short())
	}
	info, err := decodeClientInfo(msg)
	if err != nil {
		return client, ClientInfo{}, Shared{}, fmt.Errorf("%w (client %v)", err, client.Short())
	}
	return client, info, shared, nil
}

// AppendServerInfo appends the whole ServerInfo frame. nonce must be random and never used
// twice with the same Shared.
func (s *Shared) AppendServerInfo(dst []byte, info ServerInfo, nonce [NonceLen]byte) []byte {
	var buf [maxServerInfoJSON]byte
	return s.appendBox(dst, FrameServerInfo, nil, info.appendJSON(buf[:0]), nonce)
}

// AppendClientInfo appends the whole frame by which client logs in to server, and returns
// the secret with which the answer is opened (about 60 µs). nonce must be random and never
// used twice with the same keys. Errors: ErrLowOrder for the server's key, ErrAppName.
func AppendClientInfo(dst []byte, client PrivateKey, server Key, info ClientInfo,
	nonce [NonceLen]byte) ([]byte, Shared, error) {
	if !ValidAppName(info.AppName) {
		return dst, Shared{}, fmt.Errorf("%w: %.40q", ErrAppName, info.AppName)
	}
	shared, err := client.Shared(server)
	if err != nil {
		return dst, Shared{}, err
	}
	msg, err := json.Marshal(info)
	if err != nil {
		return dst, Shared{}, fmt.Errorf("%w: %w", ErrInfoJSON, err)
	}
	public := client.Public()
	return shared.appendBox(dst, FrameClientInfo, public[:], msg, nonce), shared, nil
}

// OpenServerInfo opens a ServerInfo payload at the client's end. Errors: *LengthError,
// ErrBox, or JSON that is no ServerInfo.
func (s *Shared) OpenServerInfo(payload []byte) (ServerInfo, error) {
	if err := CheckLen(FrameServerInfo, len(payload), FromServer); err != nil {
		return ServerInfo{}, err
	}
	msg, err := s.open(payload)
	if err != nil {
		return ServerInfo{}, err
	}
	var info ServerInfo
	if err := json.Unmarshal(msg, &info); err != nil {
		return ServerInfo{}, fmt.Errorf("derp: the server's login answer is not the JSON "+
			"of a ServerInfo: %w", err)
	}
	return info, nil
}

// appendBox appends a frame: clear, nonce, box of msg.
func (s *Shared) appendBox(dst []byte, t FrameType, clear, msg []byte,
	nonce [NonceLen]byte) []byte {
	dst = AppendHeader(dst, t, len(clear)+NonceLen+boxOverhead+len(msg))
	dst = append(append(dst, clear...), nonce[:]...)
	return secretbox.Seal(dst, msg, &nonce, (*[32]byte)(s))
}

// open returns the message in b, which is a nonce and a box. The error is ErrBox.
func (s *Shared) open(b []byte) ([]byte, error) {
	if len(b) < NonceLen+boxOverhead {
		return nil, ErrBox
	}
	nonce := [NonceLen]byte(b)
	msg, ok := secretbox.Open(nil, b[NonceLen:], &nonce, (*[32]byte)(s))
	if !ok {
		return nil, ErrBox
	}
	return msg, nil
}
