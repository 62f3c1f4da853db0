package tlsengine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
)

// Alert levels and the descriptions this package sends or looks at (RFC 8446 6).
const (
	levelWarning byte = 1
	levelFatal   byte = 2

	alertCloseNotify       byte = 0
	alertUnexpectedMessage byte = 10
	alertBadRecordMAC      byte = 20
	alertRecordOverflow    byte = 22
	alertIllegalParameter  byte = 47
	alertDecodeError       byte = 50
	alertProtocolVersion   byte = 70
	alertInternalError     byte = 80
	alertUserCanceled      byte = 90
	alertNoRenegotiation   byte = 100
)

// A ProtocolError is something the peer's bytes did wrong, and the alert that tells it so. The Err
// variables below are of this type; what [Session.Open] returns wraps one of them.
type ProtocolError struct {
	Alert tls.AlertError // what AppendAlert sends
	text  string
}

func (e *ProtocolError) Error() string { return "tlsengine: " + e.text }

func protocolError(alert byte, text string) error {
	return &ProtocolError{Alert: tls.AlertError(alert), text: text}
}

// Errors of [Session.Open] and [RecordLen]. After any of them the connection must end.
var (
	// ErrBadRecord: the record was not sealed with the keys and the sequence number expected.
	ErrBadRecord = protocolError(alertBadRecordMAC, "record does not authenticate")
	// ErrUnexpected: a record or a message of a type that has no place here.
	ErrUnexpected = protocolError(alertUnexpectedMessage, "unexpected message")
	// ErrTooManyIdle: more than 16 records in a row without application data.
	ErrTooManyIdle = protocolError(alertUnexpectedMessage, "too many records without data")
	// ErrTooManyKeyUpdates: KeyUpdates, again and again, of keys that have hardly been used.
	ErrTooManyKeyUpdates = protocolError(alertUnexpectedMessage, "too many KeyUpdates")
	// ErrOverflow: a record longer than the protocol allows.
	ErrOverflow = protocolError(alertRecordOverflow, "record too long")
	// ErrDecode: a message whose length or contents do not fit its type.
	ErrDecode = protocolError(alertDecodeError, "malformed message")
	// ErrIllegal: a message with a value that is not defined.
	ErrIllegal = protocolError(alertIllegalParameter, "illegal value")
	// ErrVersion: a record header with a version other than 0x0303.
	ErrVersion = protocolError(alertProtocolVersion, "wrong record version")
	// ErrRenegotiation: a TLS 1.2 server asked for a new handshake.
	ErrRenegotiation = protocolError(alertNoRenegotiation, "peer asked for renegotiation")
)

// Errors that are no message of the peer's.
var (
	// ErrNoSession: a method of the zero Session, or of one that was wiped.
	ErrNoSession = errors.New("tlsengine: no session (zero value or wiped)")
	// ErrEnded: Open after an Open that failed.
	ErrEnded = errors.New("tlsengine: session has failed before, nothing more is opened")
	// ErrSequence: 2^62 records were opened with one key.
	ErrSequence = errors.New("tlsengine: sequence numbers are used up")
)

// An AlertError is the alert with which the peer ended the connection.
type AlertError struct {
	Alert tls.AlertError
}

func (e *AlertError) Error() string {
	return fmt.Sprintf("tlsengine: peer sent alert %d (%v)", uint8(e.Alert), e.Alert)
}

// alert takes an alert record: io.EOF for close_notify, *AlertError for an error alert, nil for a
// warning that may be ignored.
func (s *Session) alert(b []byte) error {
	if len(b) != 2 {
		return fmt.Errorf("%w: alert of %d bytes", ErrDecode, len(b))
	}
	level, desc := b[0], b[1]
	switch {
	case desc == alertCloseNotify:
		return io.EOF
	case s.version == tls.VersionTLS13 && desc == alertUserCanceled:
		// Sent ahead of close_notify by some (RFC 8446 6.1); says nothing by itself.
		return s.idleRecord()
	case s.version == tls.VersionTLS12 && level == levelWarning:
		return s.idleRecord()
	case s.version == tls.VersionTLS12 && level != levelFatal:
		return fmt.Errorf("%w: alert level %d", ErrIllegal, level)
	}
	return &AlertError{Alert: tls.AlertError(desc)}
}

// AppendClose appends a sealed close_notify. Afterwards this side is closed: nothing else is
// sealed, and a second AppendClose appends nothing.
func (s *Session) AppendClose(dst []byte) []byte {
	return s.appendAlert(dst, levelWarning, alertCloseNotify)
}

// AppendAlert appends the sealed alert that answers an error of [Session.Open] or [RecordLen], and
// closes this side like [Session.AppendClose]: close_notify for io.EOF, nothing for the peer's own
// alert or a session that cannot seal, internal_error for an error of the caller's.
func (s *Session) AppendAlert(dst []byte, err error) []byte {
	var remote *AlertError
	var broken *ProtocolError
	switch {
	case err == nil, errors.As(err, &remote):
		return dst
	case errors.Is(err, io.EOF):
		return s.AppendClose(dst)
	case errors.As(err, &broken):
		level := levelFatal
		if byte(broken.Alert) == alertNoRenegotiation {
			level = levelWarning // RFC 5246 7.2.2: always a warning
		}
		return s.appendAlert(dst, level, byte(broken.Alert))
	}
	return s.appendAlert(dst, levelFatal, alertInternalError)
}

func (s *Session) appendAlert(dst []byte, level, desc byte) []byte {
	if s.version == 0 || s.flags&flagSealEnd != 0 {
		return dst
	}
	start := len(dst)
	dst = append(s.SealStart(dst), level, desc)
	dst = s.sealRecord(dst, start, recordAlert)
	s.flags |= flagSealEnd
	return dst
}
