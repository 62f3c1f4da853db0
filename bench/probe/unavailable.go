package probe

import (
	"errors"
	"fmt"
)

// ErrUnavailable says that this machine does not offer what was asked for.
var ErrUnavailable = errors.New("not available here")

// unavailable makes such an error of what was tried and how it failed.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, fmt.Errorf(format, args...))
}
