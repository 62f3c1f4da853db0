package bench

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Identify fills in which binary a peer is, so that a report can be told from one of another build.
func (p *Peer) Identify() error {
	f, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("which build is %s? %w", p.Path, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("which build is %s? %w", p.Path, err)
	}
	p.Digest = hex.EncodeToString(h.Sum(nil)[:digestBytes])
	// Programs in other languages do not tell.
	if info, err := buildinfo.Read(f); err == nil {
		p.Version = info.Main.Path + " " + info.Main.Version + ", " + info.GoVersion
	}
	return nil
}
