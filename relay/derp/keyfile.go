package derp

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// keyFile is the whole content of derper's key file.
type keyFile struct {
	PrivateKey PrivateKey
}

// LoadOrCreateKey reads the server's private key from a file in derper's format, or makes
// the file, and folders above it, with a new key. An existing file is never written to,
// whatever it holds: a lost identity cannot be made again.
// If two processes create at once, both return the key of the one that was first.
//
// The file is tab-indented JSON, {"PrivateKey":"privkey:<64 hex>"}, mode 0600, and appears
// whole or not at all. Errors are one sentence with the path and the remedy.
func LoadOrCreateKey(path string) (key PrivateKey, created bool, err error) {
	key, err = LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	key, err = NewPrivateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, false, err
	}
	err = createKeyFile(path, key)
	if errors.Is(err, fs.ErrExist) { // somebody else was first
		key, err = LoadKey(path)
		return key, false, err
	}
	if err != nil {
		return PrivateKey{}, false, fmt.Errorf("the key file %s cannot be created: %w: make "+
			"its folder writable for this user or choose another path", path, err)
	}
	return key, true, nil
}

// LoadKey reads the private key from a key file. If there is none the error is
// fs.ErrNotExist, wrapped; every error is one sentence with the path and the remedy, and
// none contains what the file holds.
func LoadKey(path string) (PrivateKey, error) {
	b, err := readKeyFile(path)
	if err != nil {
		remedy := "make it readable for this user"
		if errors.Is(err, fs.ErrNotExist) {
			remedy = "check the path, or have it created"
		}
		return PrivateKey{}, fmt.Errorf("the key file %s cannot be read: %w: %s",
			path, cause(err), remedy)
	}
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return PrivateKey{}, damaged(path, err)
	}
	if f.PrivateKey.IsZero() {
		return PrivateKey{}, damaged(path, errors.New("it has no PrivateKey"))
	}
	return f.PrivateKey, nil
}

func damaged(path string, err error) error {
	return fmt.Errorf("the key file %s is damaged: %w: restore it from a backup, or move it "+
		"away so that the server starts with a new key", path, err)
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, keyFileBytesMax+1))
	if err == nil && len(b) > keyFileBytesMax {
		err = fmt.Errorf("more than %d bytes are no key file", keyFileBytesMax)
	}
	return b, err
}

// createKeyFile writes a temporary file beside path and links it there, which fails with
// fs.ErrExist instead of replacing what is there.
func createKeyFile(path string, key PrivateKey) error {
	b, err := json.MarshalIndent(keyFile{key}, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cause(err)
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".tmp*") // mode 0600
	if err != nil {
		return cause(err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return cause(err)
	}
	if err := publish(tmp.Name(), path, os.Link); err != nil {
		return cause(err)
	}
	return syncDir(dir)
}

// publish gives a finished file its name by link, which is os.Link: atomic and exclusive.
// Some network and host-shared file systems have no hard links; there only Rename is left,
// and two processes that create at the same moment may both believe to be first.
func publish(tmp, path string, link func(oldname, newname string) error) error {
	err := link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, statErr := os.Lstat(path); !errors.Is(statErr, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, path)
}

// syncDir makes the new name survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return cause(err)
	}
	defer d.Close()
	return cause(d.Sync())
}

// cause strips the operation and the path that package os puts around an error, because the
// sentence around it names the path already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
