package browser

import "time"

const (
	// SceneMax bounds a whole test, the browser's start included: Chromium takes 10 s to
	// start on two busy cores.
	SceneMax = 55 * time.Second

	// installMax bounds the first run's installations, which fetch 100 MB.
	installMax = 10 * time.Minute

	// quitMax is how long Chromium may take to end itself before it is killed.
	quitMax = 3 * time.Second

	// killedMax bounds the wait for killed processes to be gone.
	killedMax = 5 * time.Second

	// pollEvery is the pause between two looks at a process that ends.
	pollEvery = 20 * time.Millisecond
)
