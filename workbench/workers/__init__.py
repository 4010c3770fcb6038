"""Programs that run inside a toolchain's interpreter; they import workbench.core and nothing else of ours."""
