@echo off
if exist "%~dp0python.exe" ("%~dp0python.exe" -m aqe_core %*) else ("%~dp0..\python.exe" -m aqe_core %*)
